"""Which parameters decay (the weights of layers, not scales, offsets and biases), and which have their own rate."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from normbench.norms.contract import HasRates
from normbench.spec.registry import NORMS, Deferred
from normbench.spec.schema import OptimizerConfig

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def parameter_groups(net: nn.Module, config: OptimizerConfig, lr: float) -> list[Any]:
    """The parameters as an optimizer takes them: all of them, or groups, of which the first is the ordinary one.

    With `decay_norms: false` (and a weight decay) these do not decay: every parameter of at most one axis longer than
    one (biases, gamma, beta, and the scale of weight norm, (C, 1, 1, 1)), save the weight of a linear layer or a
    convolution itself, and all that belongs to a module of a registered norm's class, or lies in one, of any shape.
    Parameters with a rate of their own (see `HasRates`) are groups with that many times `lr`.
    """
    parameters = list(net.parameters())
    spares = not config.decay_norms and bool(config.options.get("weight_decay"))
    spared = _spared(net) if spares else set()
    rates = _rates(net)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, False): []}
    for parameter in parameters:
        groups.setdefault((rates.get(parameter, 1.0), parameter in spared), []).append(parameter)
    if len(groups) == 1:
        return parameters
    found = []
    for (rate, stays), members in sorted(groups.items(), key=lambda group: (group[0][0] != 1, group[0])):
        own: dict[str, Any] = {"lr": rate * lr} if rate != 1 else {}
        found.append({"params": members, **own, **({"weight_decay": 0.0} if stays else {})})
    return [group for group in found if group["params"]]


def _rates(net: nn.Module) -> dict[Tensor, float]:
    """The factors on the learning rate of the parameters that have one."""
    found: dict[Tensor, float] = {}
    for module in net.modules():
        if isinstance(module, HasRates):
            own = dict(module.named_parameters(recurse=False))
            found |= {own[name]: rate for name, rate in module.rate_factors.items() if name in own}
    return found


def _spared(net: nn.Module) -> set[Tensor]:
    """What does not decay."""
    spared = _of_norms(net)
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = isinstance(module, _LAYERS) and name == "weight"
            if not weight and sum(length > 1 for length in parameter.shape) <= 1:
                spared.add(parameter)
    return spared


def _of_norms(net: nn.Module) -> set[Tensor]:
    """Parameters in modules of the registered norms' classes."""
    kinds = tuple(kind for name in NORMS if inspect.isclass(kind := _class(NORMS.get(name).build)))
    return {p for module in net.modules() if isinstance(module, kinds) for p in module.parameters()}


def _class(build: Any) -> Any:
    return build.load() if isinstance(build, Deferred) else build
