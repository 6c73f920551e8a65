"""Networks take turns answering, folded and not. No clock of the machine decides a test here."""

from typing import Any

import pytest
import torch
from torch import nn

from normbench.study import load_study
from normbench.study.cost import measured_cells
from normbench.study.latency import (
    COLUMNS,
    LEAST_PASSES,
    Network,
    axes_of_networks,
    latencies,
    latency_baseline,
    latency_table,
    networks,
    pass_seconds,
)

from .conftest import Write, plan

NORMS: dict[str, Any] = {
    "grid": {"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 32], "model.hidden": [[16], [24]]},
    "compare": {"factor": "model.norm", "baseline": "batch", "across": ["data.batch_size", "model.hidden"]},
}


class Clock:
    """Moves with every pass of the networks that it is hooked to."""

    def __init__(self) -> None:
        self.now, self.slowness = 0.0, 1.0

    def __call__(self) -> float:
        return self.now

    def follow(self, network: Network) -> None:
        batch = network.run.config.model.norm == "batch" and not network.fused
        network.net.register_forward_hook(lambda *_: self.move(0.2 if batch else 0.1))

    def move(self, seconds: float) -> None:
        self.now += seconds * self.slowness


def test_only_axes_that_change_the_networks_are_told_apart(write: Write) -> None:
    study, cells = load_study(write(**NORMS)), measured_cells(plan(write(**NORMS)))
    axes = axes_of_networks(study, cells)
    assert axes == ["model.hidden", "model.norm"]
    found = networks(cells, axes, 3)
    state = torch.random.get_rng_state()
    assert [(n.run.config.model.norm, n.fused, n.run.config.model.options["hidden"]) for n in found] == [
        (norm, fused, hidden)
        for hidden in ([16], [24])
        for norm, fused in (("none", False), ("batch", False), ("batch", True), ("group", False))
    ]
    assert torch.equal(state, torch.random.get_rng_state())
    for one in found:
        assert one.images.shape == (3, 1, 28, 28)
        assert not one.net.training
    with torch.no_grad():
        torch.testing.assert_close(found[2].net(found[2].images), found[1].net(found[1].images), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in found[2].net.modules()) == 0


def test_a_pass_is_timed_after_a_warm_up_and_long_enough(write: Write) -> None:
    cells = measured_cells(plan(write()))
    network = networks(cells, ["model.norm"], 1)[0]
    for limit, passes in ((0.05, LEAST_PASSES), (2.0, 20)):
        clock, count = Clock(), []
        hooks = [network.net.register_forward_hook(lambda *_, count=count: count.append(1))]
        hooks.append(network.net.register_forward_hook(lambda *_, clock=clock: clock.move(0.1)))
        assert pass_seconds(network, limit, clock) == pytest.approx(0.1)
        assert len(count) == pytest.approx(5 + passes, abs=1)
        for hook in hooks:
            hook.remove()


def test_the_table_has_the_ratio_to_no_norm_of_the_same_round(write: Write) -> None:
    study, cells = load_study(write(**NORMS)), measured_cells(plan(write(**NORMS)))
    axes, clock = axes_of_networks(study, cells), Clock()
    found = networks(cells, axes, 1)
    for one in found:
        clock.follow(one)
    told: list[int] = []

    def next_round(number: int) -> None:
        told.append(number)
        clock.slowness *= 1.5

    measured = latencies(study, found, axes, lambda one: pass_seconds(one, 0.01, clock), 3, next_round)
    assert told == [1, 2, 3]
    assert list(measured["norm"]) == ["none", "batch", "batch", "group"] * 6
    baseline = latency_baseline(study, cells)
    assert baseline == "none"
    table = latency_table(study, measured, axes, baseline)
    assert list(table.columns) == ["hidden", "norm", "dataset", "fused", *COLUMNS]
    assert list(table["fused"]) == [False, False, True, False] * 2
    assert set(table["rounds"]) == {3}
    for row in table.to_dict("records"):
        expected = 2 if row["norm"] == "batch" and not row["fused"] else 1
        assert [row["low"], row["ratio"], row["high"]] == pytest.approx([expected] * 3)
        assert row["milliseconds"] == pytest.approx(150 * expected)


def test_a_study_without_a_level_without_norm_is_compared_with_none_too(write: Write) -> None:
    """At every level of the other axes, whatever the study's own baseline and its norm's options."""
    across = {"model.norm_options": [{"eps": 0.1}], "model.hidden": [[16], [24]]}
    tree = {
        "grid": {"model.norm": ["batch", "group"], **across},
        "compare": {"factor": "model.norm", "baseline": "batch", "across": [*across]},
    }
    study, cells = load_study(write(**tree)), measured_cells(plan(write(**tree)))
    assert all(run.config.model.norm != "none" for run in cells)
    axes = axes_of_networks(study, cells)
    found = networks(cells, axes, 1)
    names = [(one.run.cell["model.norm"], one.run.config.model.norm, one.fused) for one in found]
    assert names == 2 * [
        ("none", "none", False),
        ("batch", "batch", False),
        ("batch", "batch", True),
        ("group", "group", False),
    ]
    assert [one.run.config.model.options["hidden"] for one in found] == [[16]] * 4 + [[24]] * 4
    assert found[0].run.config.model.norm_options == {}
    assert latency_baseline(study, cells) == "none"
    clock = Clock()
    for one in found:
        clock.follow(one)
    measured = latencies(study, found, axes, lambda one: pass_seconds(one, 0.01, clock), 2)
    table = latency_table(study, measured, axes, "none")
    assert set(table["baseline"]) == {"none"}
    assert list(table["ratio"]) == pytest.approx(2 * [1, 2, 1, 1])


def test_where_the_factor_is_no_norm_all_are_compared_with_the_first_level_without(write: Write) -> None:
    """A level that is without norm at some levels of the other axes alone is not the one without norm."""
    tree = {
        "grid": {"model.hidden": [[16], [24]], "model.norm": ["none", "batch"]},
        "compare": {"factor": "model.hidden", "baseline": [24], "across": ["model.norm"]},
    }
    study, cells = load_study(write(**tree)), measured_cells(plan(write(**tree)))
    axes = axes_of_networks(study, cells)
    assert latency_baseline(study, cells) == "none"
    found = [one for one in networks(cells, axes, 1) if not one.fused]
    labels = [(one.run.cell["model.norm"], str(one.run.cell["model.hidden"])) for one in found]
    assert labels == [(norm, hidden) for norm in ("none", "batch") for hidden in ("none", "[16]", "[24]")]
    assert [one.run.config.model.norm for one in found] == ["none"] * 4 + ["batch"] * 2
    measured = latencies(study, found, axes, lambda one: 1.0, 2)
    assert set(latency_table(study, measured, axes, "none")["ratio"]) == {1.0}


def test_a_level_that_is_called_none_and_has_a_norm_is_not_the_one_without(write: Write) -> None:
    sizes = {"none": {"model.hidden": [16]}, "more": {"model.hidden": [24]}}
    base = {"data": {"name": "mnist_5k"}, "budget": {"steps": 10}, "model": {"norm": "batch"}}
    tree = {"base": base, "grid": {"extra": sizes}, "compare": {"factor": "extra", "baseline": "none"}}
    study, cells = load_study(write(**tree)), measured_cells(plan(write(**tree)))
    assert latency_baseline(study, cells) == "without norm"
    found = [one for one in networks(cells, axes_of_networks(study, cells), 1) if not one.fused]
    assert [(one.run.cell["extra"], one.run.config.model.norm) for one in found] == [
        ("without norm", "none"),
        ("none", "batch"),
        ("more", "batch"),
    ]


@pytest.mark.parametrize("last", [True, False])
def test_networks_have_the_memory_layout_of_the_runs(write: Write, last: bool) -> None:
    base = {
        "data": {"name": "mnist_5k"},
        "model": {"name": "cnn", "channels": [8, 8], "hidden": [8]},
        "budget": {"steps": 4},
        "trainer": {"accelerator": "cpu", "channels_last": last},
    }
    cells = measured_cells(plan(write(base=base)))
    found = networks(cells, ["model.norm"], 2)
    assert any(one.fused for one in found)
    for one in found:
        for part in one.net.modules():
            if isinstance(part, nn.Conv2d) and part.in_channels > 1:
                assert part.weight.is_contiguous(memory_format=torch.channels_last) == last
                assert part.weight.is_contiguous() != last
