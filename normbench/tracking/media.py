"""What W&B shows besides curves: histograms, the confusion matrix, filters, misclassified digits."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from normbench.data.module import EvalLoader
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


@torch.no_grad()
def test_media(trainer: pl.Trainer, net: nn.Module, confusion_matrix: bool, misclassified: int) -> dict[str, Any]:
    """The confusion matrix of all test images, and a table of those that are most confidently wrong.

    It goes over the test images once more: on several devices no single process has seen them all.
    """
    loader: Any = trainer.datamodule.test_dataloader()  # type: ignore[attr-defined]
    assert isinstance(loader, EvalLoader)
    wandb = wandb_module()
    net.eval()
    device = next(net.parameters()).device
    labels, chosen, confidence = [], [], []
    for images, truth in EvalLoader(loader.data, loader.split, world=1, rank=0):
        best = net(images.to(device)).float().softmax(-1).max(-1)
        labels.append(truth.cpu())
        chosen.append(best.indices.cpu())
        confidence.append(best.values.cpu())
    actual, predicted, sure = torch.cat(labels), torch.cat(chosen), torch.cat(confidence)
    media: dict[str, Any] = {}
    if confusion_matrix:
        names = [str(digit) for digit in range(loader.data.num_classes)]
        media["media/confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=actual.tolist(), preds=predicted.tolist(), class_names=names
        )
    if misclassified:
        wrong = (actual != predicted).nonzero().flatten()
        wrong = wrong[sure[wrong].argsort(descending=True, stable=True)][:misclassified]
        table = wandb.Table(columns=["image", "digit", "predicted", "confidence", "index"])
        for index in wrong.tolist():
            picture = loader.split.images[index, 0].cpu().numpy()
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
