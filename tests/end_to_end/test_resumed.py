"""A real run that a signal ends and the same command continues is an undisturbed one, to the last digit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .processes import end, start, until
from .test_reboot import lasting, state

pytestmark = pytest.mark.slow
LONGEST = 400  # seconds, where a machine does much else

WORDS = ["--data.name=mnist_5k", "--data.batch_size=16", "--model.name=mlp", "--model.norm=batch"]
WORDS += ["--model.dropout=0.2", "--optimizer.name=adam", "--optimizer.schedule=cosine", "--probes=[gradients]"]
WORDS += [
    "--trainer.accelerator=cpu",
    "--trainer.checkpoints=100",
    "--trainer.loss_points=50",
    "--trainer.validations=5",
]
WAYS = {
    "one device": ["--budget.steps=2000"],
    "two processes": ["--budget.steps=600", "--trainer.devices=2"],
    "virtual devices": ["--budget.steps=2000", "--trainer.virtual_devices=2"],
}


def result(runs: Path) -> dict[str, Any]:
    """What a result says, but for how long it took."""
    (path,) = runs.glob("*/result.json")
    told = json.loads(path.read_text())
    return {key: value for key, value in told.items() if "second" not in key}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """How a run is computed, and where it lies undisturbed."""
    words, runs = [*WORDS, *WAYS[request.param]], tmp_path_factory.mktemp("undisturbed")
    assert end(start("train", *words, "--runs", runs), LONGEST)[0] == 0
    return words, runs


# Ctrl-C and SIGTERM take one way through the code, which a process alone and the ranks of a run answer.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_a_signal_ended_goes_on_to_the_same_numbers(
    way: tuple[list[str], Path], number: signal.Signals, tmp_path: Path
) -> None:
    words, undisturbed = way
    process = start("train", *words, "--runs", tmp_path)
    until(lambda: state(tmp_path), process)
    time.sleep(0.05)  # between two checkpoints
    os.killpg(process.pid, number)
    assert end(process, 30)[0] == (-number if number == signal.SIGKILL else 128 + number)
    assert not list(tmp_path.glob("*/result.json")), "too quick for this machine: take more steps"
    status, _, err = end(start("train", *words, "--runs", tmp_path), LONGEST)
    assert status == 0, err
    assert result(tmp_path) == result(undisturbed)
    for name in ("metrics.csv", "config.yaml"):
        assert lasting(tmp_path, name) == lasting(undisturbed, name)
    for path in undisturbed.glob("*/arrays/*.npz"):
        with np.load(path) as one, np.load(tmp_path / path.relative_to(undisturbed)) as other:
            assert {key: one[key].tobytes() for key in one} == {key: other[key].tobytes() for key in other}
