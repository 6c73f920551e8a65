"""`normbench export`: a trained network as a file for others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from normbench.cli.evaluate import trained_run
from normbench.cli.options import folder, new_file, number


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add(
        "export",
        _export,
        "write a run's network, from the weights that trainer.keep kept, as ONNX or pt2; refused if a logit of the "
        "test images differs by more than 1e-5 of the largest one",
    )
    sub.add_argument("run", type=folder, help="the folder of a run")
    sub.add_argument("--format", choices=("onnx", "pt2"), default="onnx", help="ONNX (default), or torch.export's pt2")
    sub.add_argument("--fuse", action="store_true", help="fold batch norm into the convolution or linear layer before")
    sub.add_argument("--out", type=folder, metavar="FILE", help="the file (default: model.onnx or model.pt2 here)")


def _export(options: argparse.Namespace) -> int:
    from normbench.train.export import export

    path = new_file("--out", options.out or Path(f"model.{options.format}"))
    found = export(trained_run(options.run), path, options.format, options.fuse)
    print(path)
    if options.fuse:
        print(f"folded: {', '.join(found.folded) or 'none: no norm is fixed in evaluation, just behind a layer'}")
    tried = number(found.images, "test image")
    print(f"on {tried} the logits differ by {found.difference:.1g} of the largest logit at most")
    return 0
