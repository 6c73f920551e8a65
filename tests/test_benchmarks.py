"""The benchmarks compare the same networks, and measure what they say. Nothing here depends on a time."""

import argparse
import importlib
import re
from pathlib import Path

import machine
import networks
import ours
import pytest
import report_scale
import step_profile
import torch
import training
import tuned
import verdict_costs
from fresh import measure
from turns import Contender, environment, rate, turns

from normbench.spec import resolve, run_config
from normbench.train import NormClassifier
from tests.conftest import git

ROOT = Path(__file__).resolve().parent.parent
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


def test_the_tuned_loop_gathers_several_batches_in_the_order_of_one_by_one() -> None:
    images, labels = torch.arange(2_900), torch.arange(2_900) % 10
    order = torch.randperm(2_900, generator=torch.Generator().manual_seed(0))
    taken: list[int] = []

    class Watched:
        """The images, which note how many are taken at a time."""

        def __getitem__(self, chosen: torch.Tensor) -> torch.Tensor:
            taken.append(len(chosen))
            return images[chosen]

    for batch, most in ((2, 32), (32, 512), (128, 1024), (512, 1024), (2_000, 2_000)):
        found = list(tuned.batches(Watched(), labels, order, batch))  # type: ignore[arg-type]
        starts = range(0, 2_900 - batch + 1, batch)
        assert [x.tolist() for x, _ in found] == [order[start : start + batch].tolist() for start in starts]
        assert all(torch.equal(y, x % 10) for x, y in found)
        assert max(taken) == most
        taken.clear()


def test_a_contender_chooses_its_memory_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD", "OMP_NUM_THREADS"]
    names += [f"MALLOC_{name}_" for name in ("MMAP_MAX", "TOP_PAD", "TRIM_THRESHOLD", "MMAP_THRESHOLD")]
    for name in names:
        monkeypatch.setenv(name, "1")
    assert not environment(tmp_path).keys() & set(names)
    assert environment(tmp_path)["NORMBENCH_WANDB"] == "off"


def test_a_contender_that_says_much_is_not_stopped_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe holds 64 kB."""
    (tmp_path / "loud.py").write_text(
        "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\nsys.stderr.write('x' * 300_000)\n"
        "sys.stderr.flush()\nprint('{\"rate\": 2.0}', flush=True)\n"
    )
    monkeypatch.setattr("turns.CONTENDERS", tmp_path)
    assert rate(Contender("loud", "loud", 2), {}, tmp_path) == 4.0


def test_the_memory_of_a_process_is_its_own() -> None:
    """The system says at least that of the one that starts it: this one has torch."""
    assert 0 < measure("-c", "pass").gigabytes < 0.1 < measure("-c", "x = b'x' * 10**8").gigabytes < 0.3
    with pytest.raises(SystemExit, match="failed"):
        measure("-c", "raise SystemExit(3)")


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        (ROOT / "normbench/train/module.py", "normbench"),
        ("/home/ada/normbench/.venv/lib/python3.11/site-packages/torch/nn/modules/module.py", "torch, in Python"),
        ("/home/ada/normbench/.venv/lib/python3.11/site-packages/lightning/pytorch/loops/loop.py", "Lightning"),
        ("/usr/lib/python3.11/copy.py", "Python and others"),
    ],
)
def test_code_is_normbenchs_by_its_package_not_by_the_name_of_a_folder(file: object, owner: str) -> None:
    assert step_profile.owner(str(file), "call") == owner


def test_a_larger_report_is_held_against_one_of_its_kind() -> None:
    measured = report_scale.Measured
    small, large = [measured(9.0, 0.3), measured(7.0, 0.2)], [measured(38.0, 0.6), measured(13.0, 0.5)]
    said = "target: the larger report in 120 s: met (38.0 s, 2.0 x the GB of the smaller one with one axis tuned)"
    assert report_scale.larger(large, small) == said


def test_pages_that_a_benchmark_wrote_are_no_changes_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    for name in ("page.md", "page.txt", "script.py"):
        (tmp_path / "benchmarks" / name).write_text("1")
    for words in (["init"], ["add", "."], ["commit", "-m", "x"]):
        git(tmp_path, *words)
    assert not machine.changed(tmp_path)
    for name in ("page.md", "page.txt"):
        (tmp_path / "benchmarks" / name).write_text("2")
    assert not machine.changed(tmp_path)
    (tmp_path / "benchmarks" / "script.py").write_text("2")
    assert machine.changed(tmp_path)


def test_a_profile_computes_where_its_bare_loop_does() -> None:
    keys = {**ours.keys("digit_cnn", "batch", 2), **MNIST_DIGITS, "trainer.accelerator": "auto"}
    assert step_profile.on_cpu(keys).trainer.accelerator == "cpu"


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
    told = f"{min(map(int, shares))} to {max(map(int, shares))} % of the"
    for page in ("docs/getting_started.md", "benchmarks/README.md"):
        assert f"in {told}" in (ROOT / page).read_text() or f"| {told}" in (ROOT / page).read_text(), page


def test_a_run_that_stands_for_several_cells_is_trained_once(tmp_path: Path) -> None:
    """Layer norm does not know of virtual devices: one run of 1 s in both layouts, beside two of 4 s of batch norm."""
    lines = ["run_id,norm,model,layout,seed,test_accuracy,seconds"]
    for seed in (0, 1, 2):
        for place, layout in enumerate(("1x8", "2x4")):
            lines.append(f"layer-{seed},layer,mlp,{layout},{seed},{0.9 + seed / 100},1.0")
            lines.append(f"batch-{place}-{seed},batch,mlp,{layout},{seed},{0.8 + seed * (1 + place) / 50},4.0")
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "results.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "devices" / "contrasts.csv").write_text("family\n2\n")
    found = verdict_costs.spread("devices", tmp_path)
    assert not isinstance(found, str)
    assert (found.runs_a_seed, found.seconds) == (3, 3.0)


def test_where_half_cannot_be_reached_is_told() -> None:
    alone = verdict_costs.Spread("noisy", 0.1, 0.2, 5, 44, runs_a_seed=56, seconds=60)
    shared = verdict_costs.Spread("shared", 0.2, 0.1, 5, 44, runs_a_seed=56, seconds=60)
    assert (alone.known_share, shared.known_share) == pytest.approx((0.8, 0.2))
    told = verdict_costs.bound_sentence([alone, shared])
    assert "at most half in shared (*sds known* below); in the other 1 studies" in told
    page = (ROOT / "benchmarks" / "verdicts.md").read_text()
    assert "at most half in batch_size (*sds known* below); in the other 5 studies" in page


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
