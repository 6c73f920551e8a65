"""Rows of a check that need more than its own process: two of them, and torch's compiler."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from normbench.norms.measure import measure
from normbench.norms.outside import compiled, two_processes
from normbench.norms.registry import norm_entry
from normbench.norms.subject import named_norm
from normbench.norms.trial import Trial
from normbench.spec.registry import Entry


def trial(entry: Entry, options: dict[str, Any] | None = None) -> Trial:
    chosen = entry.chosen(options or {}, "options")
    return Trial(entry, chosen, measure(entry, chosen))


class Idle(nn.Module):
    """A parameter takes no part, which DistributedDataParallel does not forgive."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight, self.idle = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) * self.weight.to(x.dtype)


class Stuck(nn.Module):
    """The first process waits for one that never comes."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if dist.is_initialized() and dist.get_rank() == 0 and dist.get_backend() == "gloo":
            raise RuntimeError("rank 0 is not like the others")
        return x - x.mean(1, keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("batch", "they compute each what one does with its own images"),
        ("sync_batch", "they compute what one does with all images"),
        ("group + weight_std", "they compute each what one does with its own images"),
    ],
)
def test_two_processes_compute_what_the_facts_say(name: str, told: str) -> None:
    found = two_processes(trial(named_norm(name)))
    assert found.holds is True, found.told
    assert found.told.startswith(told)


@pytest.mark.slow
def test_two_processes_that_cannot_are_named() -> None:
    for build, said in ((Idle, "RuntimeError: Expected to have finished reduction"), (Stuck, "rank 0 is not like")):
        found = two_processes(trial(norm_entry("plugin", build, {})))
        assert found.holds is False
        assert said in found.told


def test_what_no_other_process_finds_is_not_tried() -> None:
    class Local(Idle):
        pass

    found = two_processes(trial(norm_entry("plugin", Local, {})))
    assert (found.holds, found.told.startswith("not tried: its class stands inside another")) == (None, True)
    groups = two_processes(trial(named_norm("sync_batch"), {"group_size": 3}))
    assert (groups.holds, groups.told) == (None, "not tried: its statistics are of groups of 3 devices")


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = compiled(trial(named_norm("layer")))
    assert (found.holds, found.told) == (None, "not tried: no C++ compiler is here (g++ or clang++)")


@pytest.mark.slow
def test_compiled_it_is_the_same() -> None:
    found = compiled(trial(named_norm("batch")))
    if found.holds is None:
        pytest.skip(found.told)
    assert found.holds is True, found.told
