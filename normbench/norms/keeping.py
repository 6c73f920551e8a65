"""Points of the contract on what a norm keeps from step to step: parameters, buffers, running statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from normbench.norms.facts import Facts
from normbench.norms.response import drawn, seeded
from normbench.norms.trial import LAYOUTS, Trial

TORCHS_OWN = ("_parameters", "_buffers", "_modules")
REPEATS = (100, 400, 1600, 6400)  # of one batch; the averages of a small momentum take long
CLOSE = 0.2  # of evaluation to training, relative: eight values of a vector have an unbiased variance 14 % larger


def _kept(trial: Trial) -> str:
    for layout in trial.layouts:
        for name, value in left_behind(trial.fresh(layout)):
            if isinstance(value, nn.Module):
                return f"{name} is a layer in no nn.ModuleList: its parameters neither train nor move to a GPU"
            if isinstance(value, nn.Parameter):
                return f"{name} is a parameter in no nn.ParameterList: it neither trains nor moves to a GPU"
            return f"{name} is a tensor that is no buffer: it moves to no GPU, and is not saved: register_buffer"
    return ""


def left_behind(net: nn.Module) -> Iterator[tuple[str, object]]:
    """What torch does not know of a network, by name: tensors and layers in plain attributes, lists and dictionaries.

    A number in a tensor goes with any device and dtype, so it is not among them.
    """
    known = {id(value) for value in (*net.parameters(), *net.buffers(), *net.modules())}
    for prefix, module in net.named_modules():
        for key, value in vars(module).items():
            if key not in TORCHS_OWN:
                for name, found in _leaves(f"{prefix}.{key}".lstrip("."), value):
                    number = isinstance(found, Tensor) and not found.dim() and not isinstance(found, nn.Parameter)
                    if id(found) not in known and not number:
                        yield name, found


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Tensor | nn.Module):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(f"{name}[{index}]", item)


def _trained(trial: Trial) -> str:
    """A gradient that is zero where a parameter starts leaves it there for good, as that of a clamp at its bound may.

    A random loss of a few batches, with a small step after each: what a zero before it hides is reached then. Where
    nothing comes out, nothing comes back.
    """
    for layout in trial.layouts:
        net, weights = trial.fresh(layout), trial.input(layout, 4)
        parameters = {name: p for name, p in net.named_parameters() if p.requires_grad}
        trained, reached = list(parameters.values()), set[str]()
        for seed in range(3):
            y = net(trial.input(layout, seed))
            if not bool(y.any()):
                break
            loss = (y * weights).sum()
            slopes = torch.autograd.grad(loss, trained, allow_unused=True) if trained and y.requires_grad else ()
            for (name, parameter), slope in zip(parameters.items(), slopes, strict=False):
                if slope is not None and bool(slope.any()):
                    reached.add(name)
                    parameter.data.sub_(0.01 * slope / slope.norm())
        else:
            for name in parameters:
                if name not in reached:
                    return f"{LAYOUTS[layout]}: no gradient reaches {name} from where it starts: it would never train"
    return ""


def _steps(trial: Trial) -> str:
    for layout in trial.layouts:
        net, weights = trial.net(layout), trial.input(layout, 4)
        for step in ("first", "second"):
            y = net(trial.input(layout).requires_grad_().clone())
            attributes = ((name, value) for name, value in left_behind(net) if isinstance(value, Tensor))
            for name, value in (*net.named_buffers(), *attributes):
                if value.grad_fn is not None:
                    return f"{name} keeps the graph of every step before: update it under torch.no_grad()"
            if y.requires_grad:
                try:
                    (y * weights).sum().backward()
                except RuntimeError as error:
                    return f"the {step} step has no backward pass: {' '.join(str(error).split())}"
    return ""


def gives_back(facts: Facts) -> bool:
    """Whether running averages come to what training computes, if every batch is the same.

    Those of what an image, a part of a batch, or the past has for itself do not: they move, and that is all.
    """
    return facts.images.rule == "all" and not facts.remembers


def _evaluation(trial: Trial) -> str:
    if trial.facts.same_in_eval:
        return ""
    for layout in trial.layouts:
        net, x = trial.net(layout), 4 * trial.input(layout)
        if drawn(net, x) != drawn(nn.Identity(), x):
            continue
        with torch.no_grad(), seeded():
            fresh, passes = net.eval()(x.clone()), 0
            for repeats in REPEATS:
                for _ in range(repeats - passes):
                    trained = net.train()(x.clone())
                passes, found = repeats, net.eval()(x.clone())
                apart = float((found - trained).norm() / trained.norm().clamp_min(1e-12))
                if apart < CLOSE or not (gives_back(trial.facts) or torch.equal(found, fresh)):
                    break
            else:
                return (
                    f"{LAYOUTS[layout]}: after {passes:,} times the same batch, evaluation is still {apart:.0%} off "
                    "what training gives: running statistics that do not move, or are of something else"
                )
    return ""


KEEPING = {
    "what it keeps": _kept,
    "what it trains": _trained,
    "steps in a row": _steps,
    "evaluation follows": _evaluation,
}
