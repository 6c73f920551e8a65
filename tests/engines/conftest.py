"""Real engines on loopback. `make test-engines` runs these tests; without it they are left out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves these tests out unless -m asks for them: they need what no other test does."""
    if "engines" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("engines")])
        items[:] = [item for item in items if not item.get_closest_marker("engines")]


HELPER = Path(__file__).with_name("slurm.sh")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a Slurm with two nodes of two cores; SLURM_CONF is set meanwhile."""
    pytest.importorskip("submitit")
    if not shutil.which("slurmctld") or os.geteuid() != 0:
        pytest.skip("needs Debian's slurm-wlm and munge, and root: `make test-engines` installs them")
    state = tmp_path_factory.mktemp("slurm")
    for folder in (state, *state.parents[:2]):
        folder.chmod(0o755)  # munged takes no socket below a folder that others cannot enter
    try:
        subprocess.run([HELPER, "start", state], check=True, timeout=300)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(state / "slurm.conf"))
            yield state
    finally:
        subprocess.run([HELPER, "stop", state], check=True)
