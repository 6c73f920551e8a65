"""Which parameters decay: the weights of layers, and not the scales, offsets and biases."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from normbench.spec.registry import NORMS, Deferred
from normbench.spec.schema import OptimizerConfig

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def parameter_groups(net: nn.Module, config: OptimizerConfig) -> list[Any]:
    """The parameters as an optimizer takes them: all of them, or two groups of which the second does not decay.

    With `decay_norms: false` (and a weight decay) the second group holds every parameter of at most one axis longer
    than one (biases, gamma, beta, and the scale of weight norm, (C, 1, 1, 1)), save the weight of a linear layer or a
    convolution itself, and all that belongs to a module of a registered norm's class, or lies in one, of any shape.
    """
    parameters = list(net.parameters())
    if config.decay_norms or not config.options.get("weight_decay"):
        return parameters
    spared = _of_norms(net)
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = isinstance(module, _LAYERS) and name == "weight"
            if not weight and sum(length > 1 for length in parameter.shape) <= 1:
                spared.add(parameter)
    decaying = [p for p in parameters if p not in spared]
    rest = [p for p in parameters if p in spared]
    groups: list[Mapping[str, Any]] = [{"params": decaying}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _of_norms(net: nn.Module) -> set[Tensor]:
    """Parameters in modules of the registered norms' classes."""
    kinds = tuple(kind for name in NORMS if inspect.isclass(kind := _class(NORMS.get(name).build)))
    return {p for module in net.modules() if isinstance(module, kinds) for p in module.parameters()}


def _class(build: Any) -> Any:
    return build.load() if isinstance(build, Deferred) else build
