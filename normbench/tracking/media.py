"""What W&B shows besides curves: histograms, the confusion matrix, filters, misclassified digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from normbench.data.module import Split
from normbench.data.source import CLASSES
from normbench.tracking.mode import wandb_module

BINS = 64
SAMPLE = 65_536  # values of a tensor that a histogram looks at: as many whole images as they fill
SILENT_LAYERS = (nn.Identity, nn.Flatten, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d)


def histogram(values: Tensor) -> Any | None:
    """A W&B histogram of 64 bins over the first 65,536 values or so; None where no value is a number.

    Args:
        values: Activations (images first; their order is random already) or a parameter's gradient.
    """
    values = values.detach()
    rows = max(1, SAMPLE * len(values) // values.numel()) if values.dim() else 1
    flat = (values[:rows] if values.dim() else values).float().flatten()
    flat = flat[flat.isfinite()]
    if not len(flat):
        return None
    counts, edges = np.histogram(flat.cpu().numpy(), bins=BINS)
    return wandb_module().Histogram(np_histogram=(counts, edges))


class LayerHistograms:
    """Takes histograms of every layer's output and of every parameter's gradient in one training step."""

    def __init__(self) -> None:
        self.taken: dict[str, Any] = {}
        self._handles: list[Any] = []

    def arm(self, net: nn.Module) -> None:
        """From now on, keeps what the layers of `net` give out."""
        self.disarm()
        self.taken = {}
        for name, layer in net.named_modules():
            if next(layer.children(), None) is None and not isinstance(layer, SILENT_LAYERS):
                self._handles.append(layer.register_forward_hook(self._hook(name or "net")))

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and (found := histogram(output)) is not None:
                self.taken[f"activations/{name}"] = found

        return keep

    def gradients(self, net: nn.Module) -> None:
        """Keeps the gradients that a backward pass has left, and stops."""
        if not self._handles:
            return
        self.disarm()
        for name, parameter in net.named_parameters():
            if parameter.grad is not None and (found := histogram(parameter.grad)) is not None:
                self.taken[f"gradients/{name}"] = found

    def disarm(self) -> None:
        """Lets go of the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def take(self) -> dict[str, Any]:
        """What was kept, once."""
        taken, self.taken = self.taken, {}
        return taken


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
        mine = torch.cat(self.chosen), torch.cat(self.confidence)
        if not (dist.is_available() and dist.is_initialized()):
            return mine
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def test_media(split: Split, predicted: Tensor, sure: Tensor, matrix: bool, misclassified: int) -> dict[str, Any]:
    """The confusion matrix of the test images, and a table of those that are most confidently wrong.

    Args:
        split: The test images.
        predicted: The class that each was given.
        sure: The probability that this class was given.
        matrix: Make the confusion matrix.
        misclassified: Rows of the table, at most.
    """
    wandb = wandb_module()
    actual = split.labels.cpu()
    media: dict[str, Any] = {}
    if matrix:
        media["media/confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=actual.tolist(), preds=predicted.tolist(), class_names=[str(digit) for digit in range(CLASSES)]
        )
    if misclassified:
        wrong = (actual != predicted).nonzero().flatten()
        wrong = wrong[sure[wrong].argsort(descending=True, stable=True)][:misclassified]
        table = wandb.Table(columns=["image", "digit", "predicted", "confidence", "index"])
        for index in wrong.tolist():
            picture = split.images[index, 0].cpu().numpy()
            facts = (int(actual[index]), int(predicted[index]), float(sure[index]), index)
            table.add_data(wandb.Image(picture), *facts)
        media["media/misclassified"] = table
    return media


def filters(net: nn.Module) -> dict[str, Any]:
    """The weights of the first layer as one picture, a tile for each filter or each unit that sees 28 x 28 pixels."""
    for name, parameter in net.named_parameters():
        if parameter.dim() < 2:
            continue
        weights = parameter.detach().float().cpu()
        if weights.dim() == 2 and weights.shape[1] == 28 * 28:
            weights = weights.reshape(-1, 1, 28, 28)
        if weights.dim() != 4:
            return {}
        picture = wandb_module().Image(tiles(weights[:, 0].numpy()), caption=name)
        return {"media/first_layer": picture}
    return {}


def tiles(weights: np.ndarray, columns: int = 8, scale: int = 4) -> np.ndarray:
    """Filters (F, H, W) as one grey picture, uint8: the same grey means the same weight, and mid-grey is zero."""
    count, height, width = weights.shape
    rows = -(-count // columns)
    largest = float(np.abs(weights).max()) or 1.0
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), 255, np.uint8)
    for index, weight in enumerate(weights):
        y, x = divmod(index, columns)
        grey = np.round(127.5 + 127.5 * weight / largest).astype(np.uint8)
        sheet[y * (height + 1) : y * (height + 1) + height, x * (width + 1) : x * (width + 1) + width] = grey
    return sheet.repeat(scale, 0).repeat(scale, 1)
