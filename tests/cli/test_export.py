"""`normbench export`: the file computes what the network does, on all test images."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from normbench.train import export
from normbench.train.export import NEEDED, TOLERANCE

from ..conftest import RunCli
from .conftest import TINY

MISSING = [name for name in NEEDED if find_spec(name) is None]
WHY = f"not installed: {', '.join(MISSING)} (pip install 'normbench[export]')" if MISSING else ""
if torch.__version__.startswith("2.6."):
    WHY = "torch 2.6 cannot write ONNX, with old and new versions of what it needs"
ONNX = pytest.mark.skipif(bool(WHY), reason=WHY)
# A batch norm behind a linear layer, and some behind convolutions: what is folded is in each case known.
NETWORKS = {
    "mlp": (TINY, "folded: hidden0.norm\n"),
    "cnn": (
        [*TINY, "--model.name=cnn", "--model.channels=[4,8]", "--model.kernel_size=3", "--model.stride=2"],
        "folded: block0.norm, block1.norm\n",
    ),
}


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("form", ["pt2", pytest.param("onnx", marks=ONNX)])
def test_an_exported_run_gives_the_same_logits(run_cli: RunCli, tmp_path: Path, form: str, name: str) -> None:
    network, folded = NETWORKS[name]
    words = ["--model.norm=batch", "--trainer.keep=last", f"--folder={tmp_path / 'run'}"]
    assert run_cli("train", *network, *words).status == 0
    for fuse in ([], ["--fuse"]):
        said = run_cli("export", tmp_path / "run", "--format", form, "--out", tmp_path / f"x.{form}", *fuse)
        assert said.status == 0, said.err
        assert (tmp_path / f"x.{form}").stat().st_size > 1000
        assert (folded in said.out) == bool(fuse)
        found = re.search(r"on 1000 test images the logits differ by (\S+) of the largest logit at most", said.out)
        assert found
        assert float(found[1]) <= TOLERANCE == 1e-5


def test_a_file_that_computes_something_else_is_refused(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 1e-5 of the largest logit apart."""
    assert run_cli("train", *TINY, "--trainer.keep=last", f"--folder={tmp_path / 'run'}").status == 0
    right = export._pt2
    monkeypatch.setattr(export, "_pt2", lambda net, *rest: lambda x: 1.0001 * right(net, *rest)(x))
    said = run_cli("export", tmp_path / "run", "--format", "pt2", "--out", tmp_path / "x.pt2")
    assert said.status == 1
    assert "pt2 computes other logits: they differ by 0.0001 of the largest one" in said.error
    assert not (tmp_path / "x.pt2").exists()


@pytest.mark.skipif(bool(MISSING), reason=WHY)
def test_versions_that_cannot_write_onnx_are_named(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*words: object, **more: object) -> None:
        raise RuntimeError("\n".join(f"advice {line}" for line in range(9)))

    monkeypatch.setattr("torch.onnx.export", failing)
    assert run_cli("train", *TINY, "--trainer.keep=last", f"--folder={tmp_path / 'run'}").status == 0
    said = run_cli("export", tmp_path / "run", "--format", "onnx", "--out", tmp_path / "x.onnx")
    assert said.status == 1
    assert re.search(r"fails \(RuntimeError\) with torch \S+, onnx \S+, onnxscript \S+, onnxruntime \S+: ", said.error)
    assert said.error.endswith("upgrade them, or give --format pt2")
    assert not (tmp_path / "x.onnx").exists()


def test_what_onnx_needs_is_named(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_cli("train", *TINY, "--trainer.keep=last", f"--folder={tmp_path / 'run'}").status == 0
    monkeypatch.setattr(export, "find_spec", lambda name: None)
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
