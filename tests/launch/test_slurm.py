"""What is asked of Slurm ends, and is told, where Slurm does not answer. (Real clusters are in tests/engines.)"""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from normbench.launch.slurm import SlurmLauncher, _Watched

from .test_pool import Told


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Programs of Slurm that were called, none of which answers in time."""
    found: list[str] = []

    def silent(words: list[str], timeout: float, **options: Any) -> None:
        found.append(words[0])
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(subprocess, "run", silent)
    return found


def test_a_queue_that_does_not_answer_is_told_once(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    watched = _Watched(SlurmLauncher(), Told(), Path())
    assert [watched._queued(), watched._queued()] == [None, None]
    assert asked == ["squeue", "squeue"]
    assert capsys.readouterr().err == "squeue does not answer: asking again\n"


def test_jobs_that_cannot_be_cancelled_are_named(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Watched, "_submit", interrupted)
    watched = _Watched(SlurmLauncher(), Told(), Path(), name="normbench-1", jobs={"7": []})
    with pytest.raises(KeyboardInterrupt):
        watched.run([])
    assert asked == ["scancel"]
    line = "Slurm does not answer: `scancel --name normbench-1` ends what is in its queue\n"
    assert capsys.readouterr().err == line
