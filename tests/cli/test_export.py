"""`normbench export`: the file computes what the network does, on all test images."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from normbench.train.export import NEEDED

from ..conftest import RunCli
from .conftest import TINY

MISSING = [name for name in NEEDED if find_spec(name) is None]
ONNX = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install 'normbench[export]')"
)


@pytest.mark.parametrize("form", ["pt2", pytest.param("onnx", marks=ONNX)])
def test_an_exported_run_gives_the_same_logits(run_cli: RunCli, tmp_path: Path, form: str) -> None:
    words = ["--model.norm=batch", "--trainer.keep=last", f"--folder={tmp_path / 'run'}"]
    assert run_cli("train", *TINY, *words).status == 0
    for fuse in ([], ["--fuse"]):
        said = run_cli("export", tmp_path / "run", "--format", form, "--out", tmp_path / f"x.{form}", *fuse)
        assert said.status == 0, said.err
        assert (tmp_path / f"x.{form}").stat().st_size > 1000
        assert ("folded: hidden0.norm" in said.out) == bool(fuse)
        found = re.search(r"on 1000 test images the logits differ by (\S+) of the largest at most", said.out)
        assert found
        assert float(found[1]) <= 1e-5


@pytest.mark.skipif(not MISSING, reason="the packages are installed")
def test_what_onnx_needs_is_named(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("train", *TINY, "--trainer.keep=last", f"--folder={tmp_path / 'run'}").status == 0
    said = run_cli("export", tmp_path / "run")
    assert said.status == 2
    assert "pip install 'normbench[export]'" in said.error


@pytest.mark.parametrize(("where", "reason"), [("nowhere/x.pt2", "make it first"), (".", "name a file in it")])
def test_a_place_that_cannot_be_written_is_refused_first(
    run_cli: RunCli, tmp_path: Path, where: str, reason: str
) -> None:
    said = run_cli("export", tmp_path / "run", "--format", "pt2", "--out", tmp_path / where)
    assert said.status == 2
    assert reason in said.error
