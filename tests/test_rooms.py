"""The rooms of the package: who may import whom, and how large a module may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "normbench"

# From the ground up: a room imports only rooms before it. `cli` alone knows all others.
ORDER = (
    "stats",
    "spec",
    "store",
    "norms",
    "models",
    "data",
    "probes",
    "train",
    "study",
    "report",
    "findings",
    "tracking",
    "launch",
    "cli",
)
# Modules beside the rooms that import nothing of the package.
LEAVES = {"errors", "output", "stops", "seeds", "environ", "machine", "privacy"}
FACES = {"__init__", "__main__", "config"}  # public names of the rooms, imported by nobody inside
LARGEST = 300
LARGE_WITH_A_REASON: dict[str, str] = {}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Rooms and leaves of the package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "normbench":
                names = [f"normbench.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "normbench" and len(parts) > 1 and not parts[1].startswith("__"):
                yield parts[1]


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_before_it(path: Path) -> None:
    own = room(path)
    if own in FACES:
        return
    assert own in ORDER or own in LEAVES, f"{own} is no room: name its place in ORDER"
    allowed = LEAVES if own in LEAVES else {*LEAVES, *ORDER[: ORDER.index(own) + 1]}
    if own == "stats":
        allowed = {"stats"}
    wrong = set(imported(path)) - allowed
    assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong}, which are after {own}"


def test_every_room_is_lived_in() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert found == set(ORDER)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_large_without_a_reason(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LARGEST or str(path.relative_to(PACKAGE)) in LARGE_WITH_A_REASON


def test_the_order_is_seen_to_be_broken() -> None:
    """The test above can fail: what it reads of a module is what the module imports."""
    assert set(imported(PACKAGE / "cli" / "main.py")) >= {"errors", "tracking"}
