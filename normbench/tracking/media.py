"""What W&B shows besides curves: histograms, the confusion matrix, filters, misclassified images.

What is kept during a training step is copied at once and drawn later, while the training clock stands still; no random
number is drawn and no mode, buffer or gradient is touched.

No `wandb.Table`: tables travel as artifacts, in whose manifests the client writes the path of its own folder in the
user's home.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from normbench.tracking.client import wandb_module

BINS = 64
SAMPLE = 65_536  # values of a tensor that a histogram looks at: as many whole images as they fill
SILENT_LAYERS = (nn.Identity, nn.Flatten, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d)


def histogram(values: Tensor) -> Any | None:
    """A W&B histogram of 64 bins over all finite values; None where there are none."""
    flat = values.float().flatten()
    flat = flat[flat.isfinite()]
    if not len(flat):
        return None
    counts, edges = np.histogram(flat.cpu().numpy(), bins=BINS)
    return wandb_module().Histogram(np_histogram=(counts, edges))


def sample(values: Tensor) -> Tensor:
    """A copy of the first 65,536 values or so, as whole rows.

    Args:
        values: Activations (images first; their order is random already) or a parameter's gradient.
    """
    rows = max(1, SAMPLE * len(values) // max(1, values.numel())) if values.dim() else 1
    return (values[:rows] if values.dim() else values).detach().clone()


class LayerHistograms:
    """Takes histograms of every layer's output and of every parameter's gradient in one training step."""

    def __init__(self) -> None:
        self.complete = False
        self._kept: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def arm(self, net: nn.Module) -> None:
        """From now on, keeps what the layers of `net` give out. Armed again, it goes on."""
        if self._handles:
            return
        for name, layer in net.named_modules():
            if next(layer.children(), None) is None and not isinstance(layer, SILENT_LAYERS):
                self._handles.append(layer.register_forward_hook(self._hook(name or "net")))

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                self._kept[f"activations/{name}"] = sample(output)

        return keep

    def gradients(self, net: nn.Module) -> None:
        """Keeps the gradients that a backward pass has left, and lets go of the network."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for name, parameter in net.named_parameters():
            if parameter.grad is not None:
                self._kept[f"gradients/{name}"] = sample(parameter.grad)
        self.complete = True

    def take(self) -> dict[str, Any]:
        """The histograms of what was kept, once."""
        kept, self._kept, self.complete = self._kept, {}, False
        drawn = {name: histogram(values) for name, values in kept.items()}
        return {name: found for name, found in drawn.items() if found is not None}


class TestPredictions:
    """Keeps what a network answers to the test images while it is tested, on every process."""

    __test__ = False  # not one of pytest's

    def __init__(self, net: nn.Module) -> None:
        self.chosen: list[Tensor] = []
        self.confidence: list[Tensor] = []
        self._handle = net.register_forward_hook(self._keep)

    def _keep(self, net: nn.Module, inputs: object, logits: Tensor) -> None:
        best = logits.float().softmax(-1).max(-1)
        self.chosen.append(best.indices.cpu())
        self.confidence.append(best.values.cpu())

    def gather(self) -> tuple[Tensor, Tensor]:
        """Class and confidence of every test image, in the order of the test set. All processes must call it.

        Each has seen consecutive images, the first process the first ones (EvalLoader).
        """
        self._handle.remove()
        own = torch.cat(self.chosen), torch.cat(self.confidence)
        if not (dist.is_available() and dist.is_initialized()):
            return own
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, own)
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> dict[str, Any]:
    """The confusion matrix of the test images, as a small page.

    Args:
        labels: Their labels (N,).
        predicted: The class that each was given (N,).
        classes: Number of classes.
    """
    pairs = labels.cpu().long() * classes + predicted.cpu().long()
    counts = pairs.bincount(minlength=classes**2).reshape(classes, classes)
    return {"media/confusion_matrix": wandb_module().Html(matrix_page(counts.tolist()), inject=False)}


def matrix_page(counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix in HTML: a row a label, a column a prediction; darker is a larger share of the row.

    Args:
        counts: Images of label i that were given class j, at [i][j].
    """
    style = "font:13px sans-serif;border-collapse:collapse;text-align:right"
    head = "".join(f"<th>{j}</th>" for j in range(len(counts)))
    rows = []
    for i, row in enumerate(counts):
        most = max(1, sum(row))
        cells = "".join(
            f'<td style="padding:2px 6px;background:rgba(31,119,180,{0.85 * count / most:.2f})">{count}</td>'
            for count in row
        )
        rows.append(f"<tr><th>{i}</th>{cells}</tr>")
    return (
        f'<!doctype html><meta charset="utf-8"><table style="{style}">'
        f"<caption>rows: label, columns: prediction</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>\n"
    )


def misclassified(split: Any, predicted: Tensor, sure: Tensor, count: int) -> dict[str, Any]:
    """The test images that are most confidently wrong, the most confident first.

    Args:
        split: The test images; `split.at(indices)` are pixels, uint8 (N, C, H, W), and labels (N,).
        predicted: The class that each was given (N,).
        sure: The probability that this class was given (N,).
        count: Images, at most.
    """
    wandb = wandb_module()
    actual = split.labels.cpu()
    wrong = (actual != predicted).nonzero().flatten()
    wrong = wrong[sure[wrong].argsort(descending=True, stable=True)][:count]
    pixels = split.at(wrong.to(split.labels.device))[0].cpu().numpy()
    images = []
    for image, index in zip(pixels, wrong.tolist(), strict=True):
        given = f"{int(predicted[index])} ({float(sure[index]):.3f})"
        said = f"label {int(actual[index])}, predicted {given}, test image {index}"
        images.append(wandb.Image(picture(image), caption=said))
    return {"media/misclassified": images} if images else {}


def picture(image: np.ndarray) -> np.ndarray:
    """An image (C, H, W) as a picture: grey (H, W), or with three channels in colour (H, W, 3)."""
    return image.transpose(1, 2, 0) if len(image) == 3 else image[0]


def filters(net: nn.Module, image: Sequence[int]) -> dict[str, Any]:
    """The weights of the first layer as one picture; none where they are neither filters nor see whole images.

    Args:
        net: The trained network.
        image: Channels, height and width of its images.
    """
    for name, parameter in net.named_parameters():
        if parameter.dim() < 2:
            continue
        weights = parameter.detach().float().cpu()
        if weights.dim() == 2 and weights.shape[1] == np.prod(image):
            weights = weights.reshape(-1, *image)
        if weights.dim() != 4:
            return {}
        return {"media/first_layer": wandb_module().Image(tiles(weights.numpy()), caption=name)}
    return {}


def tiles(weights: np.ndarray, columns: int = 8, scale: int = 4) -> np.ndarray:
    """Filters (F, C, H, W) as one picture, uint8: the same shade means the same weight, and mid-grey is zero.

    Three channels are drawn in colour; of any other number, the first.
    """
    shown = weights if weights.shape[1] == 3 else weights[:, :1]
    count, channels, height, width = shown.shape
    rows = -(-count // columns)
    largest = float(np.nanmax(np.abs(shown), initial=0.0)) or 1.0
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 255, np.uint8)
    for index, weight in enumerate(shown):
        y, x = divmod(index, columns)
        shade = np.round(127.5 + 127.5 * np.nan_to_num(weight) / largest).clip(0, 255).astype(np.uint8)
        place = np.s_[y * (height + 1) : y * (height + 1) + height, x * (width + 1) : x * (width + 1) + width]
        sheet[place] = shade.transpose(1, 2, 0)
    return (sheet if channels == 3 else sheet[..., 0]).repeat(scale, 0).repeat(scale, 1)
