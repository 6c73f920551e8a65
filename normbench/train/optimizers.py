"""The registry of optimizers. A builder takes the parameters and the learning rate; the rest are its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from normbench.errors import UsageError
from normbench.spec.registry import OPTIMIZERS, entry_of
from normbench.spec.values import NonNegative, Positive, Probability

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

Build = TypeVar("Build", bound=Callable[..., Any])


def register_optimizer(name: str, check: Callable[[Mapping[str, Any]], None] | None = None) -> Callable[[Build], Build]:
    """Decorator that registers an optimizer: a class or function of (parameters, lr, its typed options);
    one that also takes `fused` is told whether a fused kernel may be used.

    Args:
        name: Its name in a configuration.
        check: Raises UsageError for options that cannot go together, before anything is trained.

    Example:
        >>> @register_optimizer("sign_sgd")
        ... def sign_sgd(parameters, lr, *, weight_decay: float = 0.0):
        ...     from my_package import SignSGD
        ...
        ...     return SignSGD(parameters, lr, weight_decay)
        >>> OPTIMIZERS.remove("sign_sgd")
    """

    def add(build: Build) -> Build:
        OPTIMIZERS.add(entry_of(name, build, handed=("parameters", "lr", "fused"), facts={"check": check}))
        return build

    return add


def build_optimizer(
    name: str, parameters: Iterable[Parameter], lr: float, options: dict[str, Any], fused: bool = True
) -> Optimizer:
    """The optimizer `name` over `parameters` at learning rate `lr`. Raises UsageError for options it does not have.

    Args:
        name: A registered optimizer.
        parameters: What it moves.
        lr: Learning rate.
        options: Its options.
        fused: Whether one that has a fused kernel (all arithmetic of a step in one call: on a small network a step
            costs half as much) uses it. float16 with scaled gradients cannot: the kernel would unscale them itself,
            after they were clipped.
    """
    entry = OPTIMIZERS.get(name)
    handed = {"fused": fused} if "fused" in inspect.signature(entry.build).parameters else {}
    optimizer: Optimizer = entry.build(parameters, lr, **handed, **entry.chosen(options, "optimizer"))
    return optimizer


def _check_sgd(options: Mapping[str, Any]) -> None:
    if options["nesterov"] and options["momentum"] == 0:
        raise UsageError("optimizer.nesterov=true needs optimizer.momentum above 0")


@register_optimizer("sgd", check=_check_sgd)
def sgd(
    parameters: Iterable[Parameter],
    lr: float,
    fused: bool = True,
    *,
    momentum: Probability = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Stochastic gradient descent: v <- momentum v + g, w <- w - lr v. Source: torch.optim.SGD.

    Args:
        momentum: Weight of the earlier steps.
        nesterov: Take the gradient's own step on top of v (Sutskever et al. 2013); needs momentum above 0.
        weight_decay: Added to the gradient, times the weight.
    """
    from torch.optim import SGD

    _check_sgd({"nesterov": nesterov, "momentum": momentum})
    return SGD(
        parameters,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=fused,
        foreach=not fused,
    )


@register_optimizer("adam")
def adam(
    parameters: Iterable[Parameter],
    lr: float,
    fused: bool = True,
    *,
    beta1: Probability = 0.9,
    beta2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Adam, Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1. Weight decay is added to the gradient.

    Args:
        beta1: Weight of the earlier steps in the mean of the gradient.
        beta2: Weight of the earlier steps in the mean of its square.
        eps: Added to the root of the latter.
        weight_decay: Added to the gradient, times the weight.
    """
    from torch.optim import Adam

    return Adam(
        parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused, foreach=not fused
    )


@register_optimizer("adamw")
def adamw(
    parameters: Iterable[Parameter],
    lr: float,
    fused: bool = True,
    *,
    beta1: Probability = 0.9,
    beta2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """AdamW, Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2: each step takes lr times the decay off a weight.

    Args:
        beta1: Weight of the earlier steps in the mean of the gradient.
        beta2: Weight of the earlier steps in the mean of its square.
        eps: Added to the root of the latter.
        weight_decay: Taken off the weight, times lr.
    """
    from torch.optim import AdamW

    return AdamW(
        parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused, foreach=not fused
    )
