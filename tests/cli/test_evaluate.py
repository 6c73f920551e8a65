"""`normbench evaluate` and `normbench migrate`."""

import json
from pathlib import Path

import pytest

from normbench import NormClassifier
from normbench.norms import NORMS
from normbench.spec.identity import file_digest
from normbench.store.folder import WEIGHTS

from ..conftest import RunCli
from .conftest import TINY

NORM = """
from torch import nn
from normbench import register_norm

@register_norm("edited")
class Edited(nn.GroupNorm):
    def __init__(self, num_channels: int, gain: float = {}):
        super().__init__(1, num_channels)
"""


def numbers(text: str) -> dict[str, str]:
    return {name: value for name, value in (line.split() for line in text.splitlines()) if name.startswith("test")}


def test_a_run_is_scored_anew_from_its_weights(run_cli: RunCli, tmp_path: Path) -> None:
    trained = run_cli("train", *TINY, "--trainer.keep=last", f"--folder={tmp_path / 'run'}")
    assert trained.status == 0
    said = run_cli("evaluate", tmp_path / "run")
    assert said.status == 0
    assert numbers(said.out) == numbers(trained.out) != {}
    module = NormClassifier.load_from_checkpoint(tmp_path / "run" / WEIGHTS)
    assert module.net is not None


def test_corrupted_test_images(run_cli: RunCli, tmp_path: Path) -> None:
    keys = ["--trainer.keep=last", "--trainer.corruptions=[shift, noise]", f"--folder={tmp_path / 'run'}"]
    trained = run_cli("train", *TINY, *keys)
    assert trained.status == 0, trained.err
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["config"]["trainer"]["corruptions"] == ["noise=0.3", "shift=2"]
    again = numbers(run_cli("evaluate", tmp_path / "run").out)
    assert {"test_accuracy_noise", "test_accuracy_shift"} < set(again)
    for name, value in again.items():
        assert float(value) == pytest.approx(result["metrics"][name], rel=1e-4), name
    other = numbers(run_cli("evaluate", tmp_path / "run", "--corruption", "contrast=0.9").out)
    assert set(other) - set(numbers(trained.out)) == {"test_accuracy_contrast"}
    assert run_cli("evaluate", tmp_path / "run", "--corruption", "fog").status == 2


@pytest.mark.parametrize("words", [["evaluate"], ["inspect", "--filters", "--out", "{}"]])
def test_a_plug_in_that_was_edited_since_is_no_longer_the_run(
    words: list[str], run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights were scored in another network, as the run."""
    plugin, folder = tmp_path / "edited.py", tmp_path / "kept"
    plugin.write_text(NORM.format("1.0"))
    keys = [
        *TINY[2:],
        "--model.name=cnn",
        "--model.channels=[4]",
        "--plugins",
        plugin,
        "--model.norm",
        "edited",
        "--trainer.keep=last",
        f"--folder={folder}",
    ]
    assert run_cli("train", *keys).status == 0
    command = [words[0], folder, *(word.format(tmp_path) for word in words[1:])]
    assert run_cli(*command).status == 0
    plugin.write_text(NORM.format("3.0"))
    file_digest.cache_clear()  # as in a new process
    said = run_cli(*command)
    assert said.status == 1
    assert "a plug-in or a data file has changed since; put it back, or train the run again" in said.error
    NORMS.remove("edited")


def test_weights_that_were_cut_are_one_line_and_made_anew(run_cli: RunCli, tmp_path: Path) -> None:
    """Eight lines of torch's, which ask to file an issue with it."""
    words = ["train", *TINY, "--trainer.keep=last", f"--folder={tmp_path / 'run'}"]
    assert run_cli(*words).status == 0
    weights = tmp_path / "run" / WEIGHTS
    whole = weights.read_bytes()
    for left in (b"", b"\0garbage{", whole[: len(whole) // 2]):
        weights.write_bytes(left)
        answer = run_cli("evaluate", tmp_path / "run")
        assert answer.status == 1
        assert f"{weights} cannot be read (" in answer.error
        assert answer.error.endswith("): if it is damaged, remove it and train the run again")
    weights.unlink()
    assert run_cli(*words).status == 0
    assert run_cli("evaluate", tmp_path / "run").status == 0


def test_a_run_without_weights_says_how_to_keep_them(run_cli: RunCli, tmp_path: Path) -> None:
    answer = run_cli("evaluate", tmp_path)
    assert answer.status == 1
    assert "has no weights: train it with --trainer.keep last (or best)" in answer.error


def test_a_folder_that_is_not_there_is_named(run_cli: RunCli, tmp_path: Path) -> None:
    answer = run_cli("evaluate", tmp_path / "nowhere")
    assert answer.status == 2
    assert answer.error.endswith(f"no run folder at {tmp_path / 'nowhere'}: check the path")


def test_nothing_to_migrate(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("migrate", "--runs", tmp_path).out == "0 run folders moved, 0 left where they are\n"
