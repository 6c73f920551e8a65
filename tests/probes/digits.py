"""Real digits as a probe is handed them, and networks that see them."""

from typing import Any

import torch
from torch import nn

from normbench.data.module import MNISTDataModule
from normbench.models.registry import build_model
from normbench.probes import Moment
from normbench.train.callbacks.samples import FixedSamples

from ..train.runs import tiny


def digits() -> FixedSamples:
    """The embedded digits."""
    data = MNISTDataModule("mnist_5k", batch_size=32)
    data.setup()
    return FixedSamples(data, torch.empty(0), "test")


def moment(net: nn.Module, batch: int = 32, **more: Any) -> Moment:
    """A moment after the first step, whose batch is so many training images."""
    samples = digits()
    return Moment(net, *samples.train(batch), 1, 10, samples, **more)


def perceptron(norm: type[nn.Module] = nn.Identity) -> nn.Sequential:
    """784-12-10 with a norm in the middle, whose names are 1 (linear), 2 (norm) and 4 (output)."""
    torch.manual_seed(0)
    middle = norm() if norm is nn.Identity else norm(12)  # type: ignore[call-arg]
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 12), middle, nn.ReLU(), nn.Linear(12, 10))


def network(**changes: Any) -> nn.Module:
    """A network of the package, as its builder draws it."""
    from normbench.spec import resolve

    torch.manual_seed(0)
    return build_model(resolve(tiny(**changes)).model, (1, 28, 28), 10, 1)


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all that a network remembers."""
    return {name: one.detach().clone() for name, one in net.state_dict().items()}


def unchanged(net: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether it remembers the same, to the bit, and has no gradients."""
    same = all(torch.equal(one, before[name]) for name, one in net.state_dict().items())
    return same and all(one.grad is None for one in net.parameters())
