"""K12: what an interrupted step left behind does not block the next one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ..conftest import REPOSITORY

# Stands in for Python and pip: says what it was asked for, and makes what `-m venv` would.
STUB = """#!/bin/sh
echo "$0 $*" >>"$LOG"
case "$*" in
*'-m venv'*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/has_pip ;;
*'-m pip --version'*) test -e .venv/has_pip ;;
*print*) echo '(3, 11)' ;;
esac
"""


@pytest.mark.parametrize("pip", [False, True])
def test_case_27_a_half_made_environment_is_made_anew(tmp_path: Path, pip: bool) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make")
    (tmp_path / "a b").mkdir()
    folder = tmp_path / "a b"  # a folder with a space
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    stub = tmp_path / "python-stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(stub, folder / ".venv" / "bin" / "python")
    if pip:
        (folder / ".venv" / "has_pip").touch()
    log = tmp_path / "log"
    words = ["make", "plan", f"PYTHON={stub}"]
    for _ in range(2):
        subprocess.run(words, cwd=folder, env={"PATH": "/usr/bin:/bin", "LOG": str(log)}, check=True, timeout=30)
    told = log.read_text()
    assert told.count("-m venv") == (0 if pip else 1), "a whole one is kept, a half-made one is not"
    assert told.count("pip install") == 1, "the second time nothing is to be done"
    assert told.count("normbench plan") == 2
