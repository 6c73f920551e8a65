"""A small study, written with changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normbench.spec import yaml_text
from normbench.study import Plan, load_study, make_plan

from ..conftest import REPOSITORY as REPOSITORY  # noqa: PLC0414  (for the tests here)

TREE: dict[str, Any] = {
    "name": "small",
    "question": "Which norm?",
    "base": {"data": {"name": "mnist_5k"}, "budget": {"steps": 10}, "trainer": {"accelerator": "cpu"}},
    "grid": {"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 32]},
    "seeds": 2,
    "compare": {"factor": "model.norm", "baseline": "batch"},
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the small study with other values at some of its top keys; None leaves a key out."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        tree = {key: value for key, value in {**TREE, **changes}.items() if value is not None}
        path.write_text(yaml_text(tree))
        return path

    return write


def plan(path: Path) -> Plan:
    return make_plan(load_study(path))
