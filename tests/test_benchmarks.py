"""The benchmarks compare the same networks, and measure what they say. Nothing here depends on a time."""

import argparse
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "contenders")]

import networks  # noqa: E402  (benchmarks is no package)
import ours  # noqa: E402
import training  # noqa: E402
import verdict_costs  # noqa: E402  (likewise)
from turns import Contender, rate, turns  # noqa: E402

from normbench.spec import resolve, run_config  # noqa: E402
from normbench.train import NormClassifier  # noqa: E402

CELLS = [(model, norm) for model in training.MODELS for norm in training.NORMS]
REFUSED = {("strided_cnn", "instance"), ("mlp", "instance")}  # one value for each statistic
MNIST_DIGITS = {"data.name": "mnist_5k"}  # the files of mnist are not needed to build a network for it


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_can_be_started(name: str) -> None:
    """One asked a module for a name that had moved, and nothing else runs them."""
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in REFUSED], ids="/".join)
def test_the_tuned_network_is_normbenchs(cell: tuple[str, str]) -> None:
    config = resolve(run_config({**ours.keys(*cell, 32), **MNIST_DIGITS}))
    our = NormClassifier(config.model, config.optimizer, seed=1).net
    tuned = networks.network(*cell, fast=True)
    assert [p.shape for p in tuned.parameters()] == [p.shape for p in our.parameters()]
    with torch.no_grad():
        for own, theirs in zip(our.parameters(), tuned.parameters(), strict=True):
            theirs.copy_(own)
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tuned(images), our(images))


@pytest.mark.parametrize("cell", CELLS, ids="/".join)
def test_the_usual_network_differs_by_biases_that_a_norm_takes_away(cell: tuple[str, str]) -> None:
    usual, tuned = networks.network(*cell), networks.network(*cell, fast=True)
    kept = [p.shape for p in tuned.parameters()]
    extra = sum(p.numel() for p in usual.parameters()) - sum(p.numel() for p in tuned.parameters())
    cancelled = [
        layer for layer in tuned if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and layer.bias is None
    ]
    assert extra == sum(layer.weight.shape[0] for layer in cancelled)
    assert all(shape in [p.shape for p in usual.parameters()] for shape in kept)


@pytest.mark.parametrize("batch", training.BATCHES)
def test_what_has_no_network_is_refused_and_nothing_else(batch: int) -> None:
    assert {(model, norm) for model, norm in CELLS if training.refused((model, norm, batch))} == REFUSED


def asked(**given: list[object]) -> argparse.Namespace:
    return argparse.Namespace(**{"batch": None, "norm": None, "model": None} | given)


def test_the_cells_that_are_measured() -> None:
    cells = dict(training.chosen_cells(asked()))
    digit = [cell for cell in cells if cell[0] == "digit_cnn"]
    assert len(digit) == len(training.NORMS) * len(training.BATCHES)
    assert {cell[1] for cell in cells if cell[0] != "digit_cnn"} == {"batch"}
    assert training.OBVIOUS[0] in cells["digit_cnn", "batch", 2]
    assert cells["digit_cnn", "group", 2] == cells["mlp", "batch", 2] == [training.TUNED, training.OURS]
    named = dict(training.chosen_cells(asked(batch=[2, 32], norm=["layer"], model=["mlp"])))
    assert list(named) == [("mlp", "layer", 2), ("mlp", "layer", 32)]
    assert training.ONE in named["mlp", "layer", 2]
    assert training.OBVIOUS[0] in named["mlp", "layer", 2]
    part = dict(training.chosen_cells(asked(batch=[512])))
    assert part == {cell: contenders for cell, contenders in cells.items() if cell[2] == 512}


def test_operations_of_an_image() -> None:
    """Forward, and backward for weights and inputs; the images themselves need no gradient."""
    macs = [28 * 28 * 32 * 9, 14 * 14 * 64 * 32 * 9, 64 * 49 * 128, 128 * 10]
    assert training.flops("digit_cnn", "none") == 2 * (3 * sum(macs) - macs[0])


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [([4.0], [2.0], "2.00"), ([4.0, 3.0, 8.0], [2.0, 3.0, 2.0], "2.00 (1.00 to 4.00)")],
)
def test_ratios_are_taken_within_a_round(one: list[float], other: list[float], told: str) -> None:
    assert training.ratio(one, other) == told


@pytest.mark.slow
def test_contenders_start_together_and_add_up(tmp_path: Path) -> None:
    two = Contender("two", "peak", 2)
    found = turns([two], {"seconds": 0.01}, tmp_path, 2)
    assert len(found["two"]) == 2
    assert min(found["two"]) > 0


@pytest.mark.slow
def test_a_contender_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="KeyError: 'seconds'"):
        rate(Contender("one", "peak"), {}, tmp_path)


def test_the_time_to_a_verdict_is_seeds_and_runs_an_hour_of_the_committed_pages() -> None:
    folder = ROOT / "benchmarks"
    speeds = verdict_costs.runs_an_hour(folder / "training.md")
    assert list(speeds) == [2, 32, 128]
    assert all(ours > script > 0 for script, ours in speeds.values())
    of = verdict_costs.Spread("batch_size", 0.1, 0.1, 5, 44, runs_a_seed=56, seconds=60)
    row = verdict_costs.Cost(of, 0.25, unpaired=20, paired=12, looks=verdict_costs.Looks((3,), (1.0,)), mean=15.0)
    head, rule, line = verdict_costs.time_table([row], {2: (35.0, 100.0)})
    assert line == "| 0.25 | 2 | 20 | 12.0 | 8.00 | 1.68 | 21% |"  # 20 x 14 / 35 and 12 x 14 / 100
    assert head.count("|") == rule.count("|") == line.count("|")
    shares = re.findall(r"(\d+)% \|$", (folder / "verdicts.md").read_text().partition("## Time")[2], re.M)
    assert len(shares) == 9
    assert 14 <= min(map(int, shares)) <= max(map(int, shares)) <= 40, "docs/getting_started.md says so in words"


def test_the_runs_an_hour_are_the_medians_of_several_rounds(tmp_path: Path) -> None:
    rows = "| 2 | 37 (35, 39) | 28 | 1,105 (1,000, 1,210) | 2.84 (2.7 to 3.0) |"
    (tmp_path / "training.md").write_text(
        f"# Speed\n\n## Whole studies\n\n{rows}\n\n## Before\n\n| 2 | 1 | 1 | 1 | 1 |\n"
    )
    assert verdict_costs.runs_an_hour(tmp_path / "training.md") == {2: (37.0, 1105.0)}


def test_a_page_without_speeds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "training.md").write_text("# Speed\n")
    with pytest.raises(SystemExit, match="no table of whole studies"):
        verdict_costs.runs_an_hour(tmp_path / "training.md")
