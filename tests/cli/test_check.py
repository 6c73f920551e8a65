"""`normbench norms check`: a table, one line, and the exit status."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from normbench.norms import NORMS

from ..conftest import RunCli

FILE = '''
import torch
from torch import nn

from normbench import register_norm


@register_norm("sly", scope="sample")
class Sly(nn.Module):
    """Batch norm without averages, declared as a norm of single images."""

    def __init__(self, num_channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps

    def forward(self, x):
        axes = (0, *range(2, x.dim()))
        var, mean = torch.var_mean(x.double(), axes, correction=0, keepdim=True)
        return ((x - mean) / torch.sqrt(var + self.eps)).to(x.dtype)
'''


@pytest.fixture
def sly(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "sly.py").write_text(FILE)
    yield tmp_path / "sly.py"
    if "sly" in NORMS:
        NORMS.remove("sly")


def test_a_norm_that_keeps_the_contract(run_cli: RunCli) -> None:
    said = run_cli("norms", "check", "group", "--set", "model.norm_options.groups=2")
    assert (said.status, said.err) == (0, "")
    assert "norm 'group' keeps the contract" in said.out
    for text in ("(C/2, H, W)", "half precision", "channels_last", "claims scope"):
        assert text in said.out


def test_a_norm_that_claims_another_thing_than_it_does_is_named(run_cli: RunCli, sly: Path) -> None:
    said = run_cli("norms", "check", f"{sly}:Sly")
    assert (said.status, said.err) == (1, "")
    assert "norm 'sly' breaks the contract: evaluation alone, claims scope" in said.out
    assert "scope is measured as 'device'" in said.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nowhere.py:X",), "plugin nowhere.py is not a Python file"),
        (("bacth",), "unknown norm 'bacth': did you mean 'batch'"),
        (("group", "--set", "groups=2"), "unknown configuration key 'groups'"),
        (("group", "--set", "data.batch_size=2"), "--set data.batch_size: a check knows the norm's own options alone"),
        (("group", "--set", "model.norm_options.grops=2"), "grops"),
    ],
)
def test_what_cannot_be_checked_is_one_line(run_cli: RunCli, words: tuple[str, ...], text: str) -> None:
    answer = run_cli("norms", "check", *words)
    assert answer.status == 2
    assert text in answer.error


def test_a_file_that_fails_is_one_line(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    answer = run_cli("norms", "check", f"{tmp_path}/broken.py:X")
    assert answer.status == 2
    assert "broken.py fails to import: SyntaxError" in answer.error
