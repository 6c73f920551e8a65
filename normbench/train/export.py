"""A trained network as a file for others: ONNX, or torch's own exported program (pt2)."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from normbench.data.module import MNISTDataModule
from normbench.errors import NormbenchError, UsageError
from normbench.store.files import replace_file
from normbench.store.folder import RunFolder
from normbench.train.evaluation import loaded, one_device
from normbench.train.fold import folded
from normbench.train.run import surroundings

Format = Literal["onnx", "pt2"]
TOLERANCE = 1e-5  # of the largest logit, or of 1
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TRIED = "it was tried with torch 2.14, onnx 1.23, onnxscript 0.7 and onnxruntime 1.32, and fails with torch 2.6"


class Exported(NamedTuple):
    """What was written.

    Args:
        folded: Names of the norms that were folded.
        images: Test images on which the file was tried.
        difference: Largest difference of a logit from the network's own, as a share of the largest logit or of 1.
    """

    folded: list[str]
    images: int
    difference: float


def export(run: RunFolder, path: Path, form: Format, fuse: bool) -> Exported:
    """Writes a run's kept weights as a network that takes images as the run's batches have them, any number of them.

    It is tried on all test images before the file takes its place: logits may differ from the network's own by 1e-5 of
    the largest of them all (of 1, where that is smaller), not by 1e-5 of each.

    Args:
        run: A run with weights.
        path: The file.
        form: onnx or pt2.
        fuse: Fold norms into the layers before them.

    Raises:
        NormbenchError: The file computes something else: more than 1e-5 apart, as above. Or torch cannot write it.
        RunFolderError: The weights cannot be read.
        UsageError: A package is not installed.
    """
    if form == "onnx" and (missing := [name for name in NEEDED if find_spec(name) is None]):
        raise UsageError(f"format onnx needs {', '.join(missing)}: pip install 'normbench[export]'")
    config = one_device(run.config())
    with surroundings(config), tempfile.TemporaryDirectory(prefix="normbench-export-") as root, torch.no_grad():
        own = loaded(run, config).net.float().eval().to(memory_format=torch.contiguous_format)
        data = MNISTDataModule.from_config(config.data, config.seed)
        data.setup()
        few = next(iter(data.test_dataloader()))[0][:2]
        net, names = folded(own, few) if fuse else (own, [])
        fresh = Path(root) / f"model.{form}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = (_onnx if form == "onnx" else _pt2)(net, few, fresh)

        images, differences, sizes = 0, [], []
        for batch, _ in data.test_dataloader():
            wanted, found = own(batch), answer(batch)
            differences.append(float((found - wanted).abs().max()))
            sizes.append(float(wanted.abs().max()))
            images += len(batch)

        difference = max(differences) / max(1.0, *sizes)
        if not difference <= TOLERANCE:
            raise NormbenchError(f"{form} computes other logits: they differ by {difference:.2g} of the largest one")
        replace_file(path, partial(_copy, fresh))
    return Exported(names, images, difference)


def _copy(fresh: Path, path: Path) -> None:
    shutil.copyfile(fresh, path)


def _pt2(net: nn.Module, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """Writes an exported program; returns what the file computes."""
    # strict=False is the default from torch 2.7 on; the way before it counts exports of a process, and stops at some.
    program = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("images")},), strict=False)
    torch.export.save(program, path)
    module: Callable[[Tensor], Tensor] = torch.export.load(path).module()
    return module


def _onnx(net: nn.Module, images: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    """Writes ONNX; returns what onnxruntime computes of the file."""
    import onnxruntime

    try:
        torch.onnx.export(
            net,
            (images,),
            str(path),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # of many kinds, with pages of advice to who writes exporters
        here = ", ".join(f"{name} {version(name)}" for name in ("torch", *NEEDED))
        raise NormbenchError(
            f"torch's exporter to ONNX fails ({type(error).__name__}) with {here}: {TRIED}; upgrade them, or give "
            "--format pt2"
        ) from error
    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"images": x.contiguous().numpy()})[0])
