"""A small study and a small run for the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normbench.spec import yaml_text

TINY = [
    *("--model.name=mlp", "--model.hidden=[8]", "--data.name=mnist_5k", "--budget.steps=4"),
    *("--trainer.accelerator=cpu", "--trainer.validations=1", "--trainer.loss_points=2"),
]
Write = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Write:
    """Writes a small study of two runs, with other values at some of its keys."""

    def write(**changes: Any) -> Path:
        tree = {
            "name": "small",
            "question": "Which norm?",
            "base": {
                "data": {"name": "mnist_5k"},
                "model": {"name": "mlp", "hidden": [8]},
                "budget": {"steps": 4},
                "trainer": {"accelerator": "cpu"},
            },
            "grid": {"model.norm": ["none", "batch"]},
            "seeds": 1,
            "compare": {"factor": "model.norm", "baseline": "batch"},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml_text(tree | changes))
        return path

    return write
