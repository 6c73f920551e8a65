"""Plug-ins: files of a user's own, imported once, whose mistakes are named."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.spec import (
    RunConfig,
    from_dict,
    images_per_statistic,
    load_plugins,
    resolve,
    run_config,
    run_id,
    to_dict,
)
from normbench.spec.registry import (
    NORMS,
    REQUIRED,
    entry_of,
    field_hints,
)
from normbench.spec.values import Count, Probability
from tests.conftest import REGISTRIES

pytestmark = pytest.mark.usefixtures("own_registries")


def write(folder: Path, text: str, name: str = "plugin.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


NORM = """
from normbench import register_norm


@register_norm("{name}", axes="nothing", scope="none", same_in_eval=True)
def build(num_channels, spatial=True, strength: float = 1.0):
    from torch import nn

    return nn.Identity()
"""


def test_a_plug_in_registers_a_norm(tmp_path: Path) -> None:
    path = write(tmp_path, NORM.format(name="my_norm"))
    for _ in range(2):  # the second time it is there already
        one = resolve(run_config({"plugins": [path], "model.norm": "my_norm"}))
        assert one.model.norm_options == {"strength": 1.0}
        assert images_per_statistic(one) == 0
    assert NORMS.get("my_norm").source == str(Path(path).resolve())
    with pytest.raises(UsageError, match=r"model\.norm_options\.strength=x: expected a number"):
        resolve(run_config({"plugins": [path], "model.norm": "my_norm", "model.norm_options.strength": "x"}))


def test_a_plug_in_that_fails_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "import no_such_library\n", "broken_plugin.py")
    for _ in range(2):  # a second attempt does not find a half-imported module
        with pytest.raises(
            UsageError, match=r"broken_plugin\.py fails to import: ModuleNotFoundError: No module named"
        ):
            load_plugins((path,))
    with pytest.raises(UsageError, match=r"fails to import: SyntaxError"):
        load_plugins((write(tmp_path, "def (:\n", "no_python.py"),))
    with pytest.raises(UsageError, match=r"norm 'batch' is registered already by \w+\.py: choose another name"):
        load_plugins((write(tmp_path, NORM.format(name="batch"), "taken_name.py"),))
    for nowhere in ("nowhere.py", str(tmp_path), write(tmp_path, "x", "text.txt")):
        with pytest.raises(UsageError, match=r"^plugin .* is not a Python file: give a path that exists$"):
            load_plugins((nowhere,))


EVERYTHING = '''
from __future__ import annotations

import numpy as np
from normbench import register_dataset, register_model, register_probe
from normbench.data import Images
from normbench.probes import Probe
from normbench.train.optimizers import register_optimizer
from normbench.spec.values import Count


@register_model("wide")
def wide(image, classes, norms, *, width: Count = 8):
    """One hidden layer."""
    from torch import nn

    first = nn.Linear(image[0] * image[1] * image[2], width)
    return nn.Sequential(nn.Flatten(), first, *(part for _, part in norms.after(first, nn.ReLU(), width)))


@register_dataset("stripes")
def stripes(*, count: Count = 100) -> Images:
    """Stripes.

    Args:
        count: Images.
    """
    x, y = np.zeros((count, 8, 8), np.uint8), np.arange(count) % 3
    return Images((x, y), (x + 1, y), validation=10)


@register_optimizer("slow")
def slow(parameters, lr, *, patience: float = 0.5):
    """Slow."""


@register_probe("nothing")
class Nothing(Probe):
    """Nothing.

    Args:
        often: How often.
    """

    def __init__(self, often: int = 1) -> None:
        self.often = often
'''


def test_one_file_registers_anything_and_its_options_are_keys(tmp_path: Path) -> None:
    keys = {
        "plugins": [write(tmp_path, EVERYTHING)],
        "model": {"name": "wide", "width": 4, "norm": "none"},
        "data": {"name": "stripes", "count": 90, "batch_size": 8},
        "optimizer": {"name": "slow", "patience": 1},
        "probes": {"nothing": {"often": 2}},
    }
    load_plugins((keys["plugins"][0],))
    one = resolve(run_config(keys))
    assert (one.model.options, one.data.options, one.optimizer.options) == (
        {"width": 4},
        {"count": 90},
        {"patience": 1.0},
    )
    assert one.probes == {"nothing": {"often": 2}}
    for key, value in {"model.width": 0, "data.count": "x", "optimizer.patience": None}.items():
        with pytest.raises(UsageError, match=rf"^{key}="):
            resolve(run_config({**keys, key: value}))
    with pytest.raises(UsageError, match=r"did you mean 'model\.width'"):
        run_config({"model.widht": 3})


def test_a_stored_configuration_brings_its_plug_ins_into_another_process(tmp_path: Path) -> None:
    """As a worker gets it; version 0.2's first workers knew no plug-in's norms or options."""
    path = write(tmp_path, EVERYTHING)
    load_plugins((path,))
    keys = {"plugins": [path], "model": {"name": "wide", "width": 4, "norm": "none"}, "data.name": "mnist_5k"}
    one = resolve(run_config(keys))
    code = f"from normbench.spec import *; print(run_id(from_dict({to_dict(one)!r})))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.strip() == run_id(one)


def test_options_are_read_from_signature_and_docstring() -> None:
    def build(image: Any, *rest: Any, size: Count, share: Probability = 0.5, loose=3, **more: Any) -> None:  # type: ignore[no-untyped-def]
        """Builds.

        Args:
            size: How large
                it is.
            share: A part.
        """

    entry = entry_of("x", build, handed=("image",), defaults={"share": 0.25})
    assert entry.summary == "Builds."
    assert [(o.name, o.default, o.help) for o in entry.options.values()] == [
        ("size", REQUIRED, "How large it is."),
        ("share", 0.25, "A part."),
        ("loose", 3, ""),
    ]
    with pytest.raises(UsageError, match=r"^model\.size: 'x' needs this option$"):
        entry.chosen({}, "model")
    assert entry.chosen({"size": 2}, "model") == {"size": 2, "share": 0.25, "loose": 3}
    with pytest.raises(
        UsageError, match=r"model\.siz: 'x' has no such option; unknown option 'siz': did you mean 'size'"
    ):
        entry.chosen({"siz": 2}, "model")


def test_options_that_a_base_class_of_another_module_declares_keep_their_types() -> None:
    """The built-in models are dataclasses whose base names types that their own modules do not know."""
    for registry in REGISTRIES:
        for name in registry:
            for option in registry.get(name).options.values():
                assert option.hint is not Any, f"{registry.kind} {name}: {option.name} takes anything"


def test_types_that_only_a_checker_knows_are_left_unchecked() -> None:
    @dataclasses.dataclass
    class Given:
        known: "int" = 1
        unknown: "Nowhere" = 2  # type: ignore[name-defined]  # noqa: F821

    assert field_hints(Given) == {"known": int, "unknown": Any}
    assert entry_of("x", Given).chosen({"unknown": [1]}, "k") == {"known": 1, "unknown": [1]}


def test_nothing_of_a_user_is_imported_for_a_run_without_plug_ins() -> None:
    assert resolve(RunConfig()).plugins == []


IN_A_FRESH_PROCESS = """
import json, sys
from normbench.spec import from_dict, resolve, run_id
from normbench.spec.registry import NORMS

config = resolve(from_dict(json.loads(sys.argv[1])))
print(run_id(config), *(NORMS.get(name).source for name in ("none", "batch", "mine")), sep=chr(10))
"""


def test_a_worker_knows_a_plug_in_by_its_configuration_alone(tmp_path: Path) -> None:
    """It is the first to import the rooms there, and built-in parts stay built in; options of plug-ins are known."""
    text = (
        "from normbench import register_model, register_norm\n"
        "from normbench.norms.batch import BatchNorm\n"
        "@register_norm('mine')\nclass Mine(BatchNorm):\n    'As batch.'\n"
        "@register_model('own')\ndef own(image, classes, norms, *, width: int = 4):\n    pass\n"
    )
    path = write(tmp_path, text)
    config = resolve(run_config({"plugins": [path], "model.name": "own", "model.norm": "batch"}))
    changed = to_dict(dataclasses.replace(config, model=dataclasses.replace(config.model, options={"width": 8})))
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, json.dumps(changed)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    assert said[0] == run_id(from_dict(changed))
    assert [Path(source).name for source in said[1:]] == ["none.py", "batch.py", "plugin.py"]


# Modules beside a plug-in.

USES = """
from normbench import register_norm
import os.path

@register_norm("leaning")
def leaning(num_channels):
    {imports}
    from torch import nn
    return nn.Identity()
"""
BESIDE = """
import sys
from normbench.spec import from_dict, resolve, run_id
from normbench.spec.registry import NORMS

tree = {"plugins": [sys.argv[1]], "model": {"norm": "none"}, "data": {"name": "mnist_5k"}}
resolve(from_dict(tree))
from normbench.spec.identity import file_digest
print(file_digest(sys.argv[1]), "torch" in sys.modules)
if len(sys.argv) > 2:
    print(NORMS.get("leaning").build(4))
"""


def digest_in_a_fresh_process(path: str, *more: str) -> list[str]:
    command = [sys.executable, "-c", BESIDE, path, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()


def test_modules_beside_a_plug_in_are_part_of_it(tmp_path: Path) -> None:
    """Version 0.2's first plug-ins could lean on a helper whose edits made no new runs."""
    (tmp_path / "lib").mkdir()
    for name, text in {
        "formula.py": "import deeper\n",
        "deeper.py": "x = 1\n",
        "lib/__init__.py": "from . import inner\n",
        "lib/inner.py": "from .innermost import y\n",
        "lib/innermost.py": "y = 2\n",
        "unused.py": "z = 3\n",
    }.items():
        write(tmp_path, text, name)
    path = write(tmp_path, USES.format(imports="import formula, lib"))
    first, torch = digest_in_a_fresh_process(path)
    assert torch == "False", "planning imports no torch"
    assert digest_in_a_fresh_process(path, "build")[2:] == ["Identity()"], "imported when the norm is built"
    (tmp_path / "unused.py").write_text("z = 4\n")
    assert digest_in_a_fresh_process(path)[0] == first
    seen = {first}
    for name in ("formula.py", "deeper.py", "lib/__init__.py", "lib/inner.py", "lib/innermost.py"):
        with (tmp_path / name).open("a") as file:
            file.write("# edited\n")
        seen.add(digest_in_a_fresh_process(path)[0])
    assert len(seen) == 6


def test_a_module_beside_a_plug_in_is_the_one_that_python_takes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, f"x = '{folder}'\n", "same_name_beside.py")
    text = "import same_name_beside\nassert same_name_beside.x == '{}'\n"
    load_plugins((write(tmp_path / "one", text.format("one"), "first_user.py"),))
    with pytest.raises(
        UsageError, match=r"two/second_user\.py imports same_name_beside\.py beside it: Python takes .*one/same_name_be"
    ):
        load_plugins((write(tmp_path / "two", text.format("two"), "second_user.py"),))
    write(tmp_path, "def (:\n", "broken_beside.py")
    with pytest.raises(UsageError, match=r"broken_beside\.py fails to import: SyntaxError"):
        load_plugins((write(tmp_path, "import broken_beside\n", "third_user.py"),))
