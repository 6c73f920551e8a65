"""`normbench work`: workers that anything may start, side by side on one folder."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .processes import end, results, start, until, write_study

pytestmark = pytest.mark.slow

GRID = "[0.01, 0.02]"


def with_plugin(study: Path, body: str) -> None:
    """Makes a study train a norm of its own whose training steps do what `body` says."""
    study.write_text(study.read_text().replace("norm: batch", "norm: own").replace("grid", "plugins: [own.py]\ngrid"))
    (study.parent / "own.py").write_text(PLUGIN.format(body=body))


def test_workers_side_by_side_train_each_run_once_and_all_end_with_all_of_it(tmp_path: Path) -> None:
    study, runs, log = write_study(tmp_path, "side", 200), tmp_path / "runs", tmp_path / "log"
    with_plugin(study, "if not self.told: self.told = open(os.environ['LOG'], 'a').write('x\\n')")
    study.write_text(study.read_text().replace(GRID, "[0.01, 0.02, 0.03, 0.04]"))
    workers = [start("work", study, "--runs", runs, LOG=str(log)) for _ in range(3)]
    said = [end(worker) for worker in workers]
    assert [status for status, _, _ in said] == [0, 0, 0], said
    assert len(results(runs)) == 4
    assert log.read_text() == "x\n" * 4 * 2, "each run was trained once, with two norms"
    assert end(start("work", study, "--runs", runs)) == (0, "", "side: all 4 runs are done\n")


def test_a_worker_that_leaves_ends_while_others_train(tmp_path: Path) -> None:
    study, runs = write_study(tmp_path, "leave", 60_000), tmp_path / "runs"
    study.write_text(study.read_text().replace(GRID, "[0.01]"))
    first = start("work", study, "--runs", runs)
    until(lambda: list(runs.glob("*/metrics.csv")), first)
    status, _, err = end(start("work", study, "--runs", runs, "--leave"), 60)
    assert status == 0
    assert err.splitlines()[-1] == "1 of 1 runs are being trained by others"
    first.send_signal(signal.SIGTERM)
    status, _, err = end(first, 30)
    assert status == 143
    assert err.splitlines()[-1].startswith("stopped: 0 of 1 runs are done; the same command continues")


def test_a_run_that_fails_is_told_with_status_1(tmp_path: Path) -> None:
    study = write_study(tmp_path, "fails", 5)
    with_plugin(study, "raise RuntimeError('this norm is broken')")
    status, _, err = end(start("work", study, "--runs", tmp_path / "runs"))
    assert status == 1
    assert err.count("failed: lr") == 2
    assert "RuntimeError: this norm is broken" in err


PLUGIN = '''
import os
import torch
from normbench import register_norm


@register_norm("own")
class Own(torch.nn.Module):
    """Does something in training; trials are in float64 or without gradients."""

    told = 0

    def __init__(self, num_channels: int) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled() and x.dtype == torch.float32:
            {body}
        return x
'''
