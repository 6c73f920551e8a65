"""`normbench referee`: study files that can be kept and edited, what they cost, and the page at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from normbench.norms import NORMS
from normbench.spec import read_yaml
from normbench.study import load_study, make_plan

from ..conftest import RunCli

FILE = '''
import torch
from torch import nn

from normbench import register_norm


@register_norm("sized", scope="sample")
class Sized(nn.Module):
    """x / (mean of |x| over (H, W) + eps): with one position, the sign of x."""

    def __init__(self, num_channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps

    def forward(self, x):
        axes = tuple(range(AXIS, x.dim()))
        return (x / (x.abs().mean(axes, keepdim=True) + self.eps)).to(x.dtype)


class Loose(nn.Tanh):
    def __init__(self, num_channels: int):
        super().__init__()
'''
TINY = [
    *("--name", "tiny", "--seeds", 2, "--rates", "0.0001,0.05,20", "--workers", 1),
    *("--set", "data.name=mnist_5k", "--set", "budget.samples=640", "--only", "model.name=mlp"),
    *("--only", "data.batch_size=32"),
]


@pytest.fixture
def sized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sized.py").write_text(FILE.replace("AXIS", "1"))
    yield "sized.py:Sized"
    if "sized" in NORMS:
        NORMS.remove("sized")


def test_a_dry_run_writes_the_studies_and_tells_the_cost(run_cli: RunCli, sized: str, tmp_path: Path) -> None:
    said = run_cli("referee", sized, "--dry-run", "--set", "data.name=mnist_5k")
    assert said.status == 0, said.err
    assert "norm 'sized' keeps the contract" in said.out
    assert "referee_sized_pilot: 224 runs in 224 cells" in said.out
    assert "referee_sized: 160 runs in 32 cells" in said.out
    assert "look 1: 3 seeds of all cells, at 40% of the level; at most 96 runs" in said.out
    pilot = load_study(tmp_path / "experiments" / "referee_sized_pilot.yaml")
    assert pilot.seeds == (1000,)
    assert {run.config.budget.samples for run in make_plan(pilot).runs} == {10_000}
    tree = read_yaml(tmp_path / "experiments" / "referee_sized.yaml", "study")
    assert tree["base"]["optimizer"]["lr"] == {"from": "rates/referee_sized.yaml"}
    assert tree["seeds"] == {"looks": [3, 5], "spend": [0.4, 0.6], "stop": "decided"}
    assert [contrast.get("kind", "levels") for contrast in tree["compare"]] == ["levels", "change"]
    assert "averages over (C, H, W)" in tree["notes"]
    assert not (tmp_path / "runs").exists()


def test_files_are_kept_as_they_were_edited(run_cli: RunCli, sized: str, tmp_path: Path) -> None:
    words = ("referee", sized, "--dry-run")
    small = ("--set", "data.name=mnist_5k", "--only", "model.name=mlp")
    assert run_cli(*words, *small).status == 0
    file = tmp_path / "experiments" / "referee_sized.yaml"
    file.write_text(file.read_text() + "# mine\n")
    said = run_cli(*words)
    assert said.status == 0, said.err
    assert "referee_sized.yaml: kept as it is" in said.out
    assert file.read_text().endswith("# mine\n")
    assert "beyond 30 h 0 min in all" in run_cli(*words, "--budget", "30h").out, "a budget is no part of the files"
    answer = run_cli(*words, *small)
    assert answer.status == 2
    assert "is there and says otherwise" in answer.err


def test_a_rate_that_is_given_needs_no_pilot(run_cli: RunCli, sized: str, tmp_path: Path) -> None:
    said = run_cli("referee", sized, "--dry-run", "--set", "data.name=mnist_5k", "--set", "optimizer.lr=0.01")
    assert said.status == 0, said.err
    assert [path.name for path in (tmp_path / "experiments").iterdir()] == ["referee_sized.yaml"]


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("--budget", "1s"), 2, "pilot and first look are estimated at"),
        (("--budget", "soon"), 2, "--budget soon: give a time such as 30m"),
        (("--rates", "0.1,0.2"), 2, "give three numbers above 0"),
        (("--only", "model.norm=batch"), 2, "the norm itself among them"),
        (("--only", "model.name=mpl"), 2, "keep some of"),
        (("--set", "data.batch_size=8"), 2, "it is an axis of the study"),
        (("--set", "model.norm=batch"), 2, "the referee chooses norms and seeds"),
    ],
)
def test_what_is_refused_before_anything_is_trained(
    run_cli: RunCli, sized: str, tmp_path: Path, words: tuple[str, ...], status: int, text: str
) -> None:
    answer = run_cli("referee", sized, "--set", "data.name=mnist_5k", *words)
    assert answer.status == status
    assert text in answer.err
    assert not (tmp_path / "runs").exists()


def test_a_norm_that_breaks_the_contract_is_not_judged(run_cli: RunCli, sized: str, tmp_path: Path) -> None:
    answer = run_cli("referee", "detached_layer", "--dry-run")
    assert answer.status == 1
    assert "no study of it is made" in answer.error
    answer = run_cli("referee", sized.replace("Sized", "Loose"), "--dry-run")
    assert answer.status == 2
    assert 'put @register_norm("NAME") above it' in answer.error
    assert not (tmp_path / "experiments").exists()


def test_cells_with_one_value_a_statistic_are_skipped(run_cli: RunCli, sized: str, tmp_path: Path) -> None:
    said = run_cli("referee", "instance", "--dry-run", "--set", "data.name=mnist_5k")
    assert said.status == 0, said.err
    skipped = read_yaml(tmp_path / "experiments" / "referee_instance.yaml", "study")["skip"]
    found = {(rule["when"]["model.name"], rule["when"]["data.batch_size"]) for rule in skipped}
    assert found == {(name, size) for name in ("strided_cnn", "mlp") for size in (2, 32)}
    assert all(
        "one value for each statistic" in rule["reason"] for rule in skipped if rule["when"]["model.name"] != "mlp"
    )


@pytest.mark.slow
def test_from_a_file_to_the_page(run_cli: RunCli, sized: str, tmp_path: Path) -> None:
    said = run_cli("referee", sized, *TINY)
    assert said.status == 0, said.err
    assert "reports/tiny/report.html" in said.out
    rates = read_yaml(tmp_path / "experiments" / "rates" / "tiny.yaml", "rates")
    assert {row["model.norm"]: row["optimizer.lr"] for row in rates["rates"]} == dict.fromkeys(
        ("batch", "layer", "group", "sized"), 0.05
    )
    page = (tmp_path / "reports" / "tiny" / "comparison.md").read_text()
    assert "sized" in page
    again = run_cli("referee", sized, *TINY)
    assert again.status == 0, again.err
    assert "tiny: all 8 runs are done" in again.err
