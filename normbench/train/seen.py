"""What a trained network's first layer looks for, and what its layers make of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from normbench.data.module import MNISTDataModule
from normbench.errors import UsageError
from normbench.probes.watching import activations, watched
from normbench.store.folder import RunFolder
from normbench.train.evaluation import loaded, one_device
from normbench.train.run import surroundings

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Filters:
    """The filters of the first convolution.

    Args:
        layer: Its name in the network.
        weights: (filters, channels of the image, height, width), as they are used: of a reparametrised layer, what the
            reparametrisation makes.
    """

    layer: str
    weights: Array


@dataclass(frozen=True)
class Maps:
    """The feature maps of one test image.

    Args:
        number: The image's number among the test images.
        label: Its class.
        predicted: The class that the network gives it.
        image: The network's input, (C, H, W).
        layers: Name and maps (C, H, W) of each activation function's output, the first layer's first; a norm that
            replaces the activation counts as one.
    """

    number: int
    label: int
    predicted: int
    image: Array
    layers: list[tuple[str, Array]]


def filters(run: RunFolder) -> Filters:
    """The first layer of a run's kept weights.

    Raises:
        RunFolderError: The weights cannot be read.
        UsageError: Its first layer is no convolution.
    """
    net = loaded(run, one_device(run.config())).net
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            break
        if isinstance(module, nn.Conv2d):
            with torch.no_grad():
                return Filters(name, np.asarray(module.weight.detach().float().cpu().numpy()))
    raise UsageError(f"{run.path}: the first layer of its network is no convolution: it has no filters to show")


def maps(run: RunFolder, label: int | None = None) -> Maps:
    """What the layers of a run's kept weights make, in evaluation, of the first test image, or the first of a class.

    Raises:
        RunFolderError: The weights cannot be read.
        UsageError: No such class, or a network without maps.
    """
    config = one_device(run.config())
    with surroundings(config), torch.no_grad():
        net = loaded(run, config).net.float().eval()
        data = MNISTDataModule.from_config(config.data, config.seed)
        data.setup()
        number, image, label = _first_of(data, label)
        found: list[tuple[str, Array]] = []

        def note(name: str, given: Tensor, output: Tensor) -> None:
            if output.dim() == 4:
                found.append((name, np.asarray(output[0].float().numpy())))

        with watched(activations(net), note):
            predicted = int(net(image[None]).argmax())
    if not found:
        raise UsageError(f"{run.path}: no activation function of its network gives maps (C, H, W)")
    return Maps(number, label, predicted, np.asarray(image.float().numpy()), found)


def _first_of(data: MNISTDataModule, label: int | None) -> tuple[int, Tensor, int]:
    """Number, image and class of the first test image, or the first of a class."""
    seen = 0
    for images, labels in data.test_dataloader():
        places = (labels == labels[0] if label is None else labels == label).nonzero()
        if len(places):
            place = int(places[0])
            return seen + place, images[place], int(labels[place])
        seen += len(labels)
    raise UsageError(f"--maps {label}: no test image has that class: choose one of 0 to {data.num_classes - 1}")
