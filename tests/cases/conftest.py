"""Study files as the cases write them."""

from collections.abc import Callable
from pathlib import Path

import pytest

WriteText = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteText:
    """Writes a file and works in its folder, as a shell would."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
