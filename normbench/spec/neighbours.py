"""Modules beside a plug-in that it imports: they are part of what it is. Found by reading, without importing them."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from normbench.errors import UsageError


def own_files(file: Path) -> list[Path]:
    """A Python file, and the files of its own folder and below that it imports, directly or through each other.

    An import counts wherever it stands, in a function too. Names that are built while running are not seen.

    Raises:
        OSError: One of them cannot be read.
        UsageError: One of them is not Python.
    """
    file = file.expanduser().resolve()
    found = {file: ""}
    queue = [file]
    for path in queue:
        for name in _imported(path, found[path]):
            for module, at in _files_of(name, file.parent):
                if at not in found:
                    # What `from . import x` means: of a package itself, or of the package that a module is in.
                    found[at] = module if at.name == "__init__.py" else module.rpartition(".")[0]
                    queue.append(at)
    return [file, *sorted(queue[1:])]


def digest_of(files: list[Path]) -> str:
    """Sixteen hexadecimal digits of the content of a plug-in's files, of which the first is the plug-in itself."""
    digests = [hashlib.sha256(path.read_bytes()) for path in files]
    if len(files) == 1:
        return digests[0].hexdigest()[:16]
    whole = hashlib.sha256()
    for path, digest in zip(files, digests, strict=True):
        name = "" if path == files[0] else path.relative_to(files[0].parent).as_posix()
        whole.update(name.encode() + b"\0" + digest.digest())
    return whole.hexdigest()[:16]


def make_importable(file: Path) -> None:
    """Lets a plug-in import what lies beside it, now and later.

    Raises:
        UsageError: One cannot be read, or Python takes another module of the same name.
    """
    folder = str(file.parent)
    try:
        neighbours = own_files(file)[1:]
    except OSError as error:
        raise UsageError(f"plugin {file} imports {error.filename}: {error.strerror}") from None
    if neighbours and folder not in sys.path:
        sys.path.append(folder)
    for path in neighbours:
        inside = path.relative_to(file.parent)
        name = inside.parts[0].removesuffix(".py")
        spec = find_spec(name)
        places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
        if not any(place and Path(place).resolve().is_relative_to(file.parent) for place in places):
            other = f": Python takes {spec.origin or 'its own'} for it" if spec else ""
            raise UsageError(f"plugin {file} imports {inside.parts[0]} beside it{other}: give it another name")


def _imported(path: Path, package: str) -> Iterator[str]:
    """Dotted names that a file imports, or may: whether `from a import b` means the module a.b is not looked up."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"plugin {path} fails to import: {type(error).__name__}: {error}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            if node.level > len(parts):
                continue  # not importable
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _files_of(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The files below `folder` that importing a dotted name runs, with their modules' names."""
    parts = name.split(".")
    if parts[0] == "normbench":
        return  # a plug-in beside the package: its code has a digest of its own
    for count in range(1, len(parts) + 1):
        at = folder.joinpath(*parts[:count])
        for path in (at / "__init__.py", at.with_suffix(".py")):
            if path.is_file():
                yield ".".join(parts[:count]), path.resolve()
                break
