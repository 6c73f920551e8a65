"""What leaves the machine names nobody and nothing of it: no folders, no home, no user, no host."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from normbench import environ

# Keys whose values are files or folders, even where they are written as relative paths.
FILES = frozenset({"plugins", "path"})
FOLDERS = frozenset({"dir"})
PERSONAL = frozenset({"user", "username", "host", "hostname", "home", "cwd"})  # keys that are left out

# A path of at least one folder in running text; what stands before it must not make it part of a word or an address.
_PATH = re.compile(
    r"(?<![\w/.:\\~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"`,;:<>()\[\]{}|]+[/\\])+([^\s/\\'\"`,;:<>()\[\]{}|]*)"
)


def without_places(tree: Any, key: str = "") -> Any:
    """`tree` (of mappings, lists and plain values) with file names in the place of paths, and no folder or person.

    Args:
        tree: For example a configuration or a result.
        key: The key that it stands under.

    Example:
        >>> without_places({"data": {"dir": "/home/ada/digits", "path": "sets/a.npz"}, "plugins": ["/tmp/x/norm.py"]})
        {'data': {'dir': None, 'path': 'a.npz'}, 'plugins': ['norm.py']}
        >>> without_places({"host": "ada-pc", "why": "cannot write /home/ada/runs/x/result.json: disk full"})
        {'why': 'cannot write result.json: disk full'}
    """
    if isinstance(tree, Mapping):
        return {name: without_places(value, str(name)) for name, value in tree.items() if name not in PERSONAL}
    if isinstance(tree, list | tuple):
        return [without_places(value, key) for value in tree]
    if isinstance(tree, Path):
        tree = str(tree)
    if not isinstance(tree, str):
        return tree
    if key in FOLDERS:
        return None
    return file_name(tree) if key in FILES or _is_place(tree) else without_paths(tree)


def without_paths(text: str) -> str:
    """Running text with file names in the place of whole paths.

    Example:
        >>> without_paths("plugins: [/home/ada/norms/rms.py]  # and/or https://example.org/a/b")
        'plugins: [rms.py]  # and/or https://example.org/a/b'
    """
    for place in _own_places():
        # The known folders first: they may hold spaces, which end a path in running text.
        text = re.sub(re.escape(place) + r"(?=[/\\]|\b|$)[/\\]?", "", text)
    return _PATH.sub(lambda match: match[1], text)


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return PureWindowsPath(path).name or path


def _is_place(text: str) -> bool:
    """Whether a whole text is a path of this machine."""
    if "\n" in text or "://" in text:
        return False
    whole = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() or text.startswith(("~/", "~\\"))
    return whole and len(text) > 1


def _own_places() -> list[str]:
    """Folders that tell of this machine, the longest first."""
    found = {os.environ.get("HOME", ""), os.environ.get("TMPDIR", ""), os.environ.get("NORMBENCH_DATA_DIR", "")}
    found |= {tempfile.gettempdir(), str(environ.expanded("~") or ""), _here()}
    found |= {str(Path(place).resolve()) for place in list(found) if place}
    return sorted((place for place in found if len(place.strip("/\\")) > 1), key=len, reverse=True)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # a folder that was removed
        return ""
