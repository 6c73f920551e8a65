"""Networks, images and differences that direct computations share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from normbench.data import read
from normbench.findings.finding import Quantity
from normbench.models.registry import build_model
from normbench.norms import build_norm
from normbench.seeds import generator
from normbench.spec.schema import DataConfig, ModelConfig
from normbench.train.initialisation import Rule, initialise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

SEEDS = range(10)


@cache
def whole_digits(split: str) -> tuple[Tensor, Tensor]:
    """Standardised digits of all of MNIST, split train (60000, 1, 28, 28) or test (10000, …), and their labels."""
    images = read(DataConfig(name="mnist"))
    mean, deviation = (float(f(images.train[0])) / 255 for f in (np.mean, np.std))
    pixels, labels = images.train if split == "train" else images.test
    return (_grey(pixels) - mean) / deviation, torch.from_numpy(labels).long()


def _grey(pixels: np.ndarray[Any, Any]) -> Tensor:
    """Pixels (count, 28, 28) of bytes as (count, 1, 28, 28) between 0 and 1."""
    return torch.from_numpy(pixels).float().div(255).unsqueeze(1)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    images = read(DataConfig(name="mnist_5k"))
    pixels = _grey(images.train[0])
    pixels = (pixels - pixels.mean()) / pixels.std()
    order = torch.randperm(len(pixels), generator=generator(0, "findings", "digits"))  # the file is sorted by class
    return pixels[order], torch.from_numpy(images.train[1]).long()[order]


def digits(count: int) -> tuple[Tensor, Tensor]:
    """Standardised MNIST digits (count, 1, 28, 28) of all classes, float32, of mnist_5k, and their labels (count,)."""
    images, labels = _digits()
    return images[:count], labels[:count]


def normal(*shape: int, seed: int = 0, name: str = "x") -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, generator=generator(seed, "findings", name), dtype=torch.float64)


def norm(name: str, channels: int, **options: Any) -> nn.Module:
    """A norm of the package in float64, training, with gamma and beta that are not 1 and 0."""
    module = build_norm(name, channels, **options).double()
    for key, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.add_(0.3 * normal(*parameter.shape, name=f"{name} {key}"))
    return module


def network(
    name: str,
    norm: str,
    options: Mapping[str, Any],
    seed: int,
    init: str = "he_normal",
    norm_options: Mapping[str, Any] | None = None,
    std: float | None = None,
) -> nn.Module:
    """A network of the package, drawn by (seed, name), biases zero; `std` is that of init "normal"."""
    config = ModelConfig(name=name, norm=norm, options=dict(options), norm_options=dict(norm_options or {}))
    return initialise(lambda: build_model(config), seed, Rule(init, std, bias=0.0))


def trained(model: nn.Module, images: Tensor, labels: Tensor, batches: Iterable[Tensor], lr: float) -> list[float]:
    """Trains a network by SGD on batches of positions in `images`; gives the loss of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    model.train()
    for batch in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def first_convolution() -> nn.Module:
    """The first convolution of the digit CNN: (N, 1, 28, 28) to (N, 32, 28, 28)."""
    return network("digit_cnn", "none", {}, seed=0).get_submodule("block0.conv")


def medians(rows: Sequence[Mapping[str, Any]], series: str, x: str, y: str) -> pd.DataFrame:
    """Median of `y` over the seeds, for each `series` and `x`, in the order of the rows."""
    import pandas as pd

    found: pd.DataFrame = pd.DataFrame(rows).groupby([series, x], sort=False)[y].median().reset_index()
    return found


def largest(difference: Tensor) -> float:
    """The largest absolute value."""
    return float(difference.detach().abs().max())


def exact(**values: float) -> dict[str, Quantity]:
    """Computed numbers under their names, `_` as a space."""
    return {key.replace("_", " "): Quantity.exact(value) for key, value in values.items()}


def over_seeds(values: Mapping[str, Sequence[float]]) -> dict[str, Quantity]:
    """Means over seeds under their names."""
    return {key: Quantity.over_seeds(found) for key, found in values.items()}
