"""`normbench evaluate` and `normbench migrate`."""

from pathlib import Path

from normbench import NormClassifier
from normbench.store.folder import WEIGHTS

from ..conftest import RunCli
from .conftest import TINY


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
