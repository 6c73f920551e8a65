"""What cannot be where it lies: a folder in the place of a file, a file in that of a folder, a link that leads nowhere.

Such a thing is kept under another name and told of, so that it blocks nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from normbench.store.files import unwritable

Say = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Says a line where a person sees it."""
    print(line, file=sys.stderr, flush=True)


def set_aside(path: Path, why: str) -> str:
    """Renames `path` to `NAME.broken-1` (-2, ...) and returns the one line that says so.

    Raises RunFolderError where it cannot be renamed.

    Args:
        path: A file or a folder.
        why: What is wrong with it, in words that follow its name.
    """
    number = 1
    while (kept := path.with_name(f"{path.name}.broken-{number}")).exists() or kept.is_symlink():
        number += 1
    try:
        path.rename(kept)
    except OSError as error:
        raise unwritable(path, error) from None
    return f"{path} {why}: kept as {kept.name}"


def clear_file(path: Path, say: Say = to_stderr) -> None:
    """Makes sure that a file can be at `path`; what else lies there is set aside and said."""
    if path.is_dir() and not path.is_symlink():
        say(set_aside(path, "is a folder, not a file"))
    elif path.is_symlink() and not path.is_file():
        say(set_aside(path, "is a link to no file"))


def clear_folder(path: Path, say: Say = to_stderr) -> None:
    """Makes sure that a folder can be at `path`; a file that lies there is set aside and said."""
    if path.is_file():
        say(set_aside(path, "is a file, not a folder"))
