"""`normbench norms`, `models`, `datasets`, `optimizers`, `probes`: what there is, its options, where it is defined."""

import re
from pathlib import Path

import pytest

from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES

from ..conftest import RunCli

LISTS = {"norms": NORMS, "models": MODELS, "datasets": DATASETS, "optimizers": OPTIMIZERS, "probes": PROBES}


@pytest.mark.parametrize("command", LISTS)
def test_everything_registered_is_listed_with_its_options(run_cli: RunCli, command: str) -> None:
    said = run_cli(command)
    assert (said.status, said.err) == (0, "")
    for name in LISTS[command]:
        assert re.search(rf"^[│┃|] {name} ", said.out, re.MULTILINE), name
        for option in LISTS[command].get(name).options:
            assert f"{option}=" in said.out


def test_the_table_of_norms(run_cli: RunCli) -> None:
    said = run_cli("norms", "--channels", 32)
    assert said.status == 0
    for text in ("(N, H, W)", "(C, H, W)", "(C/8, H, W)", "(16 of N, H, W)", "all devices", "groups=8", "momentum=0.1"):
        assert text in said.out
    assert "(N, H, W) and (H, W)" in said.out
    for heading in ("one statistic", "values", "same in", "no bias", "no scale", "no shift", "parameters"):
        assert heading in said.out
    odd = run_cli("norms", "--channels", 12)
    assert odd.status == 0, "eight groups do not divide 12 channels: the other rows are there"
    assert "layer" in odd.out


def test_the_row_of_a_norm_has_what_was_measured(run_cli: RunCli) -> None:
    said = run_cli("norms", "--channels", 32, "--batch", 2)
    row = next(line for line in said.out.splitlines() if re.match(r"[│┃|] instance ", line))
    # digit_cnn: maps of 28 x 28 and of 14 x 14
    cells = [cell.strip() for cell in re.split("[│┃|]", row)]
    assert cells[2:9] == ["(H, W)", "196 to 784", "yes", "yes", "yes", "yes", "64"]


@pytest.mark.parametrize(("model", "values"), [("digit_cnn", "-"), ("resnet8", "0")])  # it does not fit the first
def test_what_changes_branches_has_facts_beside_any_model(run_cli: RunCli, model: str, values: str) -> None:
    said = run_cli("norms", "--channels", 32, "--model", model)
    rows = [[cell.strip() for cell in re.split("[│┃|]", line)] for line in said.out.splitlines()]
    found = {row[1]: row[3:9] for row in rows if len(row) > 9}
    assert found["skip_init"] == [values, "yes", "no", "no", "no", "0"]


@pytest.mark.slow
def test_costs_are_measured_on_request(run_cli: RunCli) -> None:
    said = run_cli("norms", "--channels", 8, "--batch", 2, "--cost")
    assert said.status == 0
    rows = [[cell.strip() for cell in re.split("[│┃|]", line)] for line in said.out.splitlines()]
    costs = {row[1]: row[9] for row in rows if len(row) > 9}
    assert costs["batch"] == "1.0"
    assert min(float(costs[norm]) for norm in ("layer", "dyt")) > 0
    assert {costs[norm] for norm in ("weight_std", "spectral", "fixup")} == {"-"}


PLUGIN = '''
from normbench import register_norm


@register_norm("listed")
def listed(num_channels: int, strength: float = 2.5):
    """Does nothing."""
    from torch import nn

    return nn.Identity()
'''


def test_what_a_plug_in_registers_is_listed(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    try:
        said = run_cli("norms", "--plugins", tmp_path / "mine.py")
        assert said.status == 0
        for text in ("listed", "strength=2.5", "mine.py"):
            assert text in said.out
    finally:
        NORMS.remove("listed")
    answer = run_cli("models", "--plugins", "nowhere.py")
    assert answer.status == 2
    assert "plugin nowhere.py is not a Python file" in answer.error


def test_a_probe_is_explained_by_its_name(run_cli: RunCli) -> None:
    said = run_cli("probes", "--probe", "rank", "--probe", "gradients")
    assert said.status == 0, said.err
    assert said.out.startswith("rank: Stable rank")
    for words in ("LAYER/stable_rank is", "Cost:", "images: Validation images", "gradients: Norm of every layer"):
        assert words in said.out
    assert "did you mean 'rank'" in run_cli("probes", "--probe", "rnk").error


def test_every_built_in_probe_says_its_cost() -> None:
    built_in = [
        PROBES.get(name) for name in PROBES if Path(PROBES.get(name).source).parts[-3:-1] == ("normbench", "probes")
    ]
    assert len(built_in) >= 9
    assert [entry.name for entry in built_in if "Cost: " not in (entry.build.__doc__ or "")] == []
