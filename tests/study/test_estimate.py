"""How long runs take: rough before anything has run, from what has run afterwards."""

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from normbench.spec import replace, resolve, run_config
from normbench.study import Measured, changed_study, estimate, make_plan, seconds_left
from normbench.study.estimate import evaluated_images
from normbench.study.file import load_study

from .conftest import Write


def of(**changes: Any) -> float:
    base = {"data.name": "mnist_5k", "trainer.accelerator": "cpu", "model.name": "cnn", "budget.steps": 100}
    return estimate(resolve(run_config({**base, **changes})))


def test_more_work_takes_longer() -> None:
    plain = of()
    assert 0 < plain < 60
    for more in (
        {"budget.steps": 1000},
        {"data.batch_size": 512},
        {"model.channels": [64, 128]},
        {"trainer.validations": 50},
        {"data.name": "mnist"},
    ):
        assert of(**more) > plain, more
    for less in ({"trainer.devices": 2}, {"model.stride": 2}, {"data.validation": 0}, {"trainer.validations": 0}):
        assert of(**less) < plain, less


def test_twice_the_steps_are_twice_the_training() -> None:
    one, two, three = (of(**{"budget.steps": count}) for count in (1000, 2000, 3000))
    assert three - two == pytest.approx(two - one)


def test_what_is_evaluated_is_charged_and_nothing_else() -> None:
    """mnist_5k has 500 validation images and 1,000 to test on; 3,500 to train on."""

    def images(**changes: Any) -> int:
        base = {"data.name": "mnist_5k", "trainer.accelerator": "cpu", "budget.steps": 100, "model.norm": "layer"}
        return evaluated_images(resolve(run_config({**base, "trainer.validations": 4, **changes})))

    precise = {"trainer.precise_statistics": 700}
    assert images() == 1_000 + 4 * 500
    assert images(**{"trainer.validation_images": 100}) == 1_000 + 3 * 100 + 500
    assert images(**{"trainer.validations": 0}) == images(**{"data.validation": 0}) == 1_000
    assert images(**{"budget.steps": 2}) == 1_000 + 2 * 500, "one a step at most"
    assert images(**{"trainer.corruptions": ["noise", "blur"]}) == images() + 2 * 1_000
    assert images(**precise) == images(), "no running averages"
    assert images(**precise, **{"model.norm": "batch"}) == images() + 1_500 + 700
    assert images(**{"trainer.precise_statistics": 10_000, "model.norm": "batch"}) == images() + 1_500 + 3_500


def test_the_default_study_takes_what_it_took() -> None:
    """Before anything has run, as its committed results have it."""
    root = Path(__file__).resolve().parents[2]
    study = changed_study(load_study(root / "experiments/batch_size.yaml"), {"trainer.accelerator": "cpu"})
    plan = make_plan(study, fallback=False)
    configs = {run.id: run.config for run in plan.runs}
    with (root / "reports/batch_size/results.csv").open(newline="") as file:
        taken = {row["run_id"]: float(row["wall_seconds"]) for row in csv.DictReader(file)}
    assert taken.keys() == configs.keys()
    assert sum(map(estimate, configs.values())) == pytest.approx(sum(taken.values()), rel=0.2)
    for run_id, config in configs.items():
        assert 1 / 2 < taken[run_id] / estimate(config) < 2, run_id


def test_what_has_run_corrects_the_figure_by_kind(write: Write) -> None:
    runs = make_plan(load_study(write())).runs
    total = sum(estimate(run.config) for run in runs)
    assert seconds_left(runs, {}) == (
        pytest.approx(total),
        "a rough figure: nothing of this study has run yet",
    )
    one = runs[0]
    seconds, basis = seconds_left(runs, {one.id: lambda: 3 * estimate(one.config)})
    assert basis == "from 1 finished run"
    assert seconds == pytest.approx(3 * (total - estimate(one.config)))
    done = {run.id: (lambda run=run: (2 if run.cell["model.norm"] == "batch" else 5) * estimate(run.config)) for run in runs if run.seed == 0}  # fmt: skip  # noqa: E501
    seconds, basis = seconds_left(runs, done)
    assert basis == "from 6 finished runs"
    left = [run for run in runs if run.seed == 1]
    assert seconds == pytest.approx(
        sum((2 if run.cell["model.norm"] == "batch" else 5) * estimate(run.config) for run in left)
    )
    assert seconds_left(runs, {one.id: lambda: None})[1].startswith("a rough figure"), "a result that is gone"
    assert seconds_left(runs, {run.id: lambda: 1.0 for run in runs})[0] == 0


def test_the_latest_runs_count_of_each_kind(write: Write) -> None:
    """A machine that has become busy: what it did before says little."""
    config = make_plan(load_study(write())).runs[0].config
    latest_first = [3.0] * 5 + [1.0] * 50
    speed = Measured((config, lambda ratio=ratio: ratio * estimate(config)) for ratio in latest_first)  # type: ignore[misc]
    assert speed.seconds(config) == pytest.approx(3 * estimate(config))
    assert speed.basis == "from 5 finished runs"


def test_runs_of_other_studies_count_where_a_kind_was_not_measured(write: Write) -> None:
    plan = make_plan(load_study(write(seeds=1)))
    batch, group, none = (
        next(run.config for run in plan.runs if run.cell == {"model.norm": norm, "data.batch_size": 8})
        for norm in ("batch", "group", "none")
    )
    others = [(batch, 5 * estimate(batch)), (group, 7 * estimate(group))]
    alone = Measured([], others, [batch, none])
    assert alone.basis == "from 2 finished runs of other studies"
    assert alone.seconds(batch) == pytest.approx(5 * estimate(batch))
    assert alone.seconds(none) == pytest.approx(6 * estimate(none)), "of no kind that is known: the median of all"
    own = [(batch, lambda: 2 * estimate(batch))]
    both = Measured(own, others, [batch, group, none])
    assert both.basis == "from 1 finished run"
    assert [both.seconds(config) / estimate(config) for config in (batch, group, none)] == pytest.approx([2, 7, 2])
    wide = resolve(replace(batch, {"budget.steps": 1000}))
    assert both.seconds(wide) == pytest.approx(2 * estimate(wide)), "scaled to what it does"

    def never() -> Iterator[Any]:
        raise AssertionError("results of other studies are not opened for nothing")
        yield

    assert Measured(own, never(), [batch]).seconds(batch) == pytest.approx(2 * estimate(batch))


def test_a_model_without_layers_has_an_estimate_too() -> None:
    from normbench import register_model
    from normbench.spec.registry import MODELS

    @register_model("unknown_cost")
    def unknown_cost(image: Any, classes: int) -> Any:
        return SimpleNamespace()

    try:
        assert of(**{"model.name": "unknown_cost", "model.norm": "none"}) > 0
    finally:
        MODELS.remove("unknown_cost")


def test_images_of_another_study_that_are_gone_spoil_no_estimate(write: Write, tmp_path: Path) -> None:
    images = np.arange(16 * 16, dtype=np.uint8).reshape(16, 4, 4)
    labels = np.arange(8) % 2
    np.savez(tmp_path / "gone.npz", x_train=images[:8], y_train=labels, x_test=images[8:], y_test=labels)
    keys = {"data.name": "npz", "data.path": str(tmp_path / "gone.npz"), "data.batch_size": 2, "data.validation": 2}
    other = resolve(run_config({**keys, "trainer.accelerator": "cpu", "model.norm": "none"}))
    (tmp_path / "gone.npz").unlink()
    runs = make_plan(load_study(write())).runs
    seconds, basis = seconds_left(runs, {}, [(other, 1.0)])
    assert seconds == pytest.approx(sum(estimate(run.config) for run in runs))
    assert basis.startswith("a rough figure")
