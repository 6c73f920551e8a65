"""Test images and precise statistics in a report, of runs that were really trained."""

import base64
import re
import shutil
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from normbench.launch.ranks import execute
from normbench.report.figures import drawn_figures
from normbench.report.images import image_pairs
from normbench.report.page.html import page
from normbench.report.page.pictures import png
from normbench.report.tables import images_grid, precise_grid
from normbench.report.tables.images import _crossed
from normbench.spec import yaml_text
from normbench.stats.images import crossed_interval
from normbench.store import Store
from normbench.store.predictions import PREDICTIONS, read_predictions
from normbench.study import load_study, make_plan

from .conftest import Lab

STUDY = {
    "name": "digits",
    "question": "Which digits?",
    "base": {
        "data": {"name": "mnist_5k", "train_samples": 512},
        "model": {"name": "cnn", "channels": [4, 8], "stride": 2, "pool": "none", "hidden": [16]},
        "budget": {"samples": 1024},
        "trainer": {"validations": 1, "accelerator": "cpu", "precise_statistics": 128},
    },
    "grid": {"model.norm": ["batch", "layer"]},
    "seeds": 2,
    "compare": {"factor": "model.norm", "baseline": "batch"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("digits")
    path = root / "digits.yaml"
    path.write_text(yaml_text(STUDY))
    for run in make_plan(load_study(path)).runs:
        execute(run.config, root / "runs" / run.id)
    return Lab(path, root / "runs", root / "reports")


def of(lab: Lab, norm: str, seed: int) -> Path:
    return next(lab.runs / run.id for run in lab.planned() if run.cell["model.norm"] == norm and run.seed == seed)


def test_a_pair_is_what_the_two_folders_say(trained: Lab) -> None:
    (pair,) = image_pairs(trained.evidence())
    assert (pair.row, pair.seeds) == ({"norm": "layer"}, (0, 1))
    for side, norm in ((pair.treatment, "layer"), (pair.baseline, "batch")):
        for place, seed in enumerate(pair.seeds):
            said = read_predictions(of(trained, norm, seed))
            assert said is not None
            assert (side.classes[place] == said.classes).all()
            assert (side.correct[place] == said.correct).all()


def test_the_table_has_both_intervals_and_says_of_whom(trained: Lab) -> None:
    evidence = trained.evidence()
    grid = images_grid(evidence)
    assert grid is not None
    (name, cells), (pair,) = grid.rows[0], image_pairs(evidence)
    assert name == "layer"
    (estimate,) = evidence.pairs.to_dict("records")
    half = (estimate["high"] - estimate["low"]) / 2
    crossed = crossed_interval(pair.treatment.correct, pair.baseline.correct, family=1, seeds=half)
    assert crossed.high - crossed.low >= 2 * half * (1 - 1e-9), "the wider population is never the surer one"
    texts = dict(zip(grid.columns, (cell.text for cell in cells), strict=True))
    assert texts["difference (points)"] == f"{100 * crossed.diff:+.2f}"
    assert texts["other seeds and images"] == f"{100 * crossed.low:+.2f} to {100 * crossed.high:+.2f}"
    assert texts["other seeds"] == f"{100 * estimate['low']:+.2f} to {100 * estimate['high']:+.2f}"
    scores = evidence.runs.pivot_table(index="seed", columns="norm", values="test_accuracy")
    assert crossed.diff == pytest.approx((scores["layer"] - scores["batch"]).mean(), abs=1e-6)
    told = (pair.treatment.classes != pair.baseline.classes).mean()
    assert texts["predict otherwise (%)"] == f"{100 * told:.2f}"
    between = (pair.baseline.classes[0] != pair.baseline.classes[1]).mean()
    assert texts["two seeds of batch do (%)"] == f"{100 * between:.2f}"
    values = dict(zip(grid.columns, (cell.value for cell in cells), strict=True))
    assert values["other seeds and images"] == crossed.low  # a page sorts by it
    assert values["other seeds"] == estimate["low"]
    for words in (
        "further trainings, tested on these very images",
        "further images such as these",
        "nothing of another seed",
    ):
        assert words in grid.footnote
    assert "| layer |" in (trained.write("tables") and (trained.report / "comparison.md").read_text())


@pytest.mark.parametrize(("pairs", "told"), [(2, True), (3, False)])
def test_where_a_seed_lost_its_predictions_the_images_add_nothing(pairs: int, told: bool) -> None:
    """Two seeds that agree by chance would give an interval narrower than that of all three."""
    rng = np.random.default_rng(0)
    sides = [rng.random((2, 400)) < share for share in (0.9, 0.8)]
    row = {"low": 0.01, "high": 0.15, "pairs": pairs, "alpha": 0.05, "family": 4}
    found = _crossed(sides[0], sides[1], row)
    assert found.diff == pytest.approx(sides[0].mean() - sides[1].mean())
    assert np.isfinite(found.low) == told
    assert not told or found.high - found.low > 0.14


def test_the_page_shows_digits_with_their_classes(trained: Lab) -> None:
    text = page(trained.evidence())
    section = text[text.index('<section id="images">') : text.index('<section id="cost-section">')]
    assert '<a href="#images">' in text
    shown = re.findall(
        r'<img src="data:image/png;base64,([^"]+)" alt="test image (\d+): true (\d), (\w+) (\d), (\w+) (\d), '
        r'in (\d) of 2 seeds"',
        section,
    )
    assert 2 <= len(shown) <= 16
    for source, index, true, right, says, wrong, other, seeds in shown:
        assert {right, wrong} == {"batch", "layer"}
        assert says == true != other
        found = 0
        for seed in (0, 1):
            winner, loser = (read_predictions(of(trained, norm, seed)) for norm in (right, wrong))
            assert winner is not None
            assert loser is not None
            found += int(winner.correct[int(index)] and not loser.correct[int(index)])
        assert found == int(seeds)
        assert base64.b64decode(source).startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(28, 20), (1, 28, 20), (3, 5, 7)])
def test_a_picture_holds_its_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = png(pixels)
    width, height = struct.unpack(">II", content[16:24])
    assert (height, width) == shape[-2:]
    start = content.index(b"IDAT") + 4
    raw = np.frombuffer(zlib.decompressobj().decompress(content[start:]), dtype=np.uint8).reshape(height, -1)
    assert (raw[:, 0] == 0).all()
    shown = raw[:, 1:].reshape(height, width, -1)
    assert (shown == (pixels.reshape(-1, height, width) if len(shape) == 3 else pixels[None]).transpose(1, 2, 0)).all()


@pytest.mark.parametrize("broken", [False, True])
def test_runs_without_predictions_break_nothing(trained: Lab, tmp_path: Path, broken: bool) -> None:
    """As pulled runs, older ones and diverged ones are; a file that cannot be read is none."""
    shutil.copytree(trained.study.parent, tmp_path / "lab")
    lab = Lab(tmp_path / "lab" / trained.study.name, tmp_path / "lab" / "runs", tmp_path / "reports")
    gone = of(lab, "layer", 1) / PREDICTIONS
    if broken:
        gone.write_bytes(b"PK")
    else:
        gone.unlink()
    with pytest.warns(UserWarning, match=f"{gone} cannot be read") if broken else nullcontext():
        (pair,) = image_pairs(lab.evidence())
        assert pair.seeds == (0,)
        grid = images_grid(lab.evidence())
        assert grid is not None
        assert grid.rows[0][1][3].text == "—", "one seed has no interval"
        (of(lab, "layer", 0) / PREDICTIONS).unlink()
        assert images_grid(lab.evidence()) is None
        assert '<section id="images">' not in page(lab.evidence())


def test_pictures_are_left_out_where_the_images_are_others(trained: Lab, tmp_path: Path) -> None:
    shutil.copytree(trained.study.parent, tmp_path / "lab")
    lab = Lab(tmp_path / "lab" / trained.study.name, tmp_path / "lab" / "runs", tmp_path / "reports")
    for norm in ("batch", "layer"):
        for seed in (0, 1):
            said = read_predictions(of(lab, norm, seed))
            assert said is not None
            np.savez(of(lab, norm, seed) / PREDICTIONS, classes=said.classes, correct=np.packbits(~said.correct))
    assert '<section id="images">' not in page(lab.evidence())
    assert images_grid(lab.evidence()) is not None


def test_both_evaluations_are_side_by_side(trained: Lab) -> None:
    evidence = trained.evidence()
    grid = precise_grid(evidence)
    assert grid is not None
    rows = {name: [cell.text for cell in cells] for name, cells in grid.rows}
    runs = evidence.runs.set_index("norm")
    assert rows["layer"][3] == "same"
    batch = runs.loc["batch"]
    assert rows["batch"][1] == f"{100 * batch['test_accuracy'].mean():.2f}"
    assert rows["batch"][2] == f"{100 * batch['test_accuracy_precise'].mean():.2f}"
    assert rows["batch"][3].startswith(f"{100 * (batch['test_accuracy_precise'] - batch['test_accuracy']).mean():+.2f}")
    data = drawn_figures(evidence)["precise_statistics"].data
    assert set(data["norm"]) == {"batch"}, "a norm without running averages is the same twice"
    means = data.set_index("evaluated with")["mean"].astype(float)
    assert means["running averages"] == pytest.approx(100 * (1 - batch["test_accuracy"].mean()))
    assert means["precise statistics"] == pytest.approx(100 * (1 - batch["test_accuracy_precise"].mean()))
    assert {"test_accuracy_precise", "test_nll_precise"} <= set(evidence.comparison["metric"])


def test_a_study_may_ask_about_it_and_others_do_not_show_it(trained: Lab, written: Lab) -> None:
    path = trained.study.with_name("precise.yaml")
    path.write_text(yaml_text(STUDY | {"compare": STUDY["compare"] | {"metric": "test_accuracy_precise"}}))  # type: ignore[operator]
    trained_runs = Store(trained.runs)
    from normbench.report import gather

    evidence = gather(path, trained_runs)
    assert evidence.metric.name == "test_accuracy_precise"
    assert pd.notna(evidence.pairs["diff"]).all()
    other = written.evidence()
    assert precise_grid(other) is None
    assert "precise_statistics" not in drawn_figures(other)
    assert not [name for name in set(other.comparison["metric"]) if name.endswith("precise")]
