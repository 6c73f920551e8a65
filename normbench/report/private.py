"""What a report shows names nobody and no place of the machine: folders become file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

FOLDERS = frozenset({"dir"})  # keys whose value is a folder
FILES = frozenset({"plugins", "path", "callbacks"})  # keys whose values can be files
PERSONAL = frozenset({"user", "username", "host", "hostname", "home", "cwd", "folder"})

# A path of at least one folder in running text; what stands before it must not make it part of a word or an address.
_PATH = re.compile(
    r"(?<![\w/.:\\~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"`,;:<>()\[\]{}|]+[/\\])+([^\s/\\'\"`,;:<>()\[\]{}|]*)"
)


def without_places(tree: Any, key: str = "") -> Any:
    """`tree` with file names in the place of paths; a folder becomes None, what names a person is left out.

    Example:
        >>> without_places({"data": {"dir": "/home/ada/digits"}, "plugins": ["/tmp/x/norm.py"], "host": "ada-pc"})
        {'data': {'dir': None}, 'plugins': ['norm.py']}
    """
    if isinstance(tree, Mapping):
        return {name: without_places(value, str(name)) for name, value in tree.items() if name not in PERSONAL}
    if isinstance(tree, list | tuple):
        return [without_places(value, key) for value in tree]
    if not isinstance(tree, str):
        return tree
    if key in FOLDERS:
        return None
    if key in FILES or PurePosixPath(tree).is_absolute() or PureWindowsPath(tree).is_absolute():
        return PureWindowsPath(tree).name or tree
    return without_paths(tree)


def without_paths(text: str) -> str:
    """Running text with file names in the place of whole paths.

    Example:
        >>> without_paths("RunFolderError: cannot write /home/ada/runs/x/result.json: disk full")
        'RunFolderError: cannot write result.json: disk full'
    """
    return _PATH.sub(lambda match: match[1], text)
