"""What has to hold of a norm, a function a point; each gives what is wrong, or nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from normbench.norms.drawn import watched
from normbench.norms.keeping import KEEPING, gives_back, left_behind
from normbench.norms.response import drawn, equal, seeded
from normbench.norms.trial import LAYOUTS, Trial, output
from normbench.seeds import own_generators

HALF = 2.0**-7  # of bfloat16, which keeps eight bits
CONSTANTS = (0.0, 3.0)


def _shapes(trial: Trial) -> str:
    for layout in trial.layouts:
        for training in (True, False):
            x = trial.input(layout)
            y = output(trial.net(layout).train(training), x)
            if y.shape != x.shape:
                return f"{LAYOUTS[layout]} in {_mode(training)}: {tuple(x.shape)} becomes {tuple(y.shape)}"
            if not bool(torch.isfinite(y).all()):
                return f"{LAYOUTS[layout]} in {_mode(training)}: not every value is finite"
        if refused := _refused(trial, layout):
            return refused
    for layout in [name for name in LAYOUTS if name not in trial.facts.layouts]:
        x = trial.input(layout)
        with suppress(Exception):  # it refuses them, in its own way
            if (y := output(trial.fresh(layout), x)).shape != x.shape:
                return f"{LAYOUTS[layout]} is not refused, and {tuple(x.shape)} becomes {tuple(y.shape)}"
    return ""


def _refused(trial: Trial, layout: str) -> str:
    """A size that decides what is taken: a parameter for each channel that stands at the last axis is one of W."""
    for channels in (trial.channels, 2, 3, 8):
        lengths = {"image": ((channels, channels + 1), (channels + 1, channels)), "tokens": ((channels,), (9,))}
        taken, error = [], ""
        for length in lengths.get(layout, ()):
            x = torch.ones(trial.images, channels, *length, dtype=torch.float64).cumsum(0)
            try:
                output(trial.fresh(layout, channels=channels), x)
                taken.append(length)
            except Exception as refused:  # a user's code may raise anything
                error = f"{(trial.images, channels, *length)} is refused: {' '.join(str(refused).split())}"
        if len(taken) == 1:
            return f"{(trial.images, channels, *taken[0])} is taken, and {error}; a gamma has the shape (1, C, 1, 1)"
    return ""


def _input(trial: Trial) -> str:
    for layout in trial.layouts:
        for training in (True, False):
            given = trial.input(layout)
            with torch.no_grad():
                copy.deepcopy(trial.net(layout).train(training))(given)
            if not torch.equal(given, trial.input(layout)):
                return f"in {_mode(training)} it writes into its input, which others may need: y = x - m, not x -= m"
    return ""


def _gradients(trial: Trial) -> str:
    for layout in trial.layouts:
        for training in (True, False):
            net = trial.net(layout).train(training)
            norm = net[-1] if trial.weights and isinstance(net, nn.Sequential) else net
            names = [name for name, parameter in norm.named_parameters() if parameter.requires_grad]
            values = [norm.get_parameter(name).detach().clone().requires_grad_() for name in names]

            def result(x: Tensor, *given: Tensor, norm: nn.Module = norm, names: list[str] = names) -> Tensor:
                parameters = dict(zip(names, given, strict=True))
                with seeded():
                    y: Tensor = torch.func.functional_call(copy.deepcopy(norm), parameters, (x.clone(),))
                return y

            x = trial.input(layout, few=True).requires_grad_()
            if not torch.autograd.gradcheck(result, (x, *values), fast_mode=True, raise_exception=False):
                return (
                    f"{LAYOUTS[layout]} in {_mode(training)}: autograd's gradient is not that of finite differences "
                    "(something is detached, or a backward pass of its own is wrong)"
                )
    return ""


def _evaluation(trial: Trial) -> str:
    for layout in trial.layouts:
        net, x = trial.net(layout).eval(), trial.input(layout)
        before = _state(net)
        with torch.no_grad():
            together = net(x.clone())
            moved = [key for key, value in net.state_dict().items() if not torch.equal(value, before[key])]
            if moved:
                return f"it changes {', '.join(moved)}"
            alone = torch.cat([output(net, image) for image in x.split(1)])
        if not equal(alone, together):
            return "an image alone gives other values than among others: a test would depend on its batch size"
    return ""


def _virtual(trial: Trial) -> str:
    if not trial.entry.facts["virtual"]:
        return ""
    for layout in trial.layouts:
        x = trial.input(layout, times=2)
        with torch.no_grad():
            # A statistic over all devices is that of the whole batch.
            parts = [x] if trial.facts.devices else x.chunk(2)
            apart = torch.cat([output(trial.net(layout), part) for part in parts])
            played = trial.net(layout, virtual_devices=2)
            played.load_state_dict(trial.net(layout).state_dict())
            if not equal(output(played, x), apart):
                return "virtual_devices=2 gives other values than two devices with half of the images each"
    return ""


def _dtype(trial: Trial) -> str:
    for layout in trial.layouts:
        for kind in (torch.float32, torch.float64):
            y = output(trial.net(layout).to(kind), trial.input(layout).to(kind))
            if y.dtype != kind:
                return f"{_name(kind)} becomes {_name(y.dtype)}"
    return ""


def _half(trial: Trial) -> str:
    for layout in trial.layouts:
        x = trial.input(layout).bfloat16()
        single = trial.net(layout).float()
        mixed = [] if trial.weights else [("parameters in float32", single)]  # a layer takes its own type only
        for words, net in [*mixed, ("parameters in bfloat16 too", trial.net(layout).bfloat16())]:
            for training in (True, False):
                y = output(net.train(training), x)
                if y.dtype != torch.bfloat16:
                    return f"bfloat16 becomes {_name(y.dtype)} ({words}): end with .to(x.dtype)"
        if mixed:
            right = output(single.train(), x.float())
            if not bool(torch.isclose(output(single, x).float(), right, rtol=HALF, atol=HALF).all()):
                off = float((output(single, x).float() - right).abs().max())
                return f"off by {off:.2g} in bfloat16: compute the statistics of x.float()"
    return ""


def _channels_last(trial: Trial) -> str:
    if "image" not in trial.layouts:
        return ""
    x, net = trial.input("image"), trial.net("image")
    # Random numbers are drawn in the order of the memory: a norm of that kind is compared where it draws none.
    net.train(drawn(net, x) == drawn(nn.Identity(), x))
    right, y = output(net, x), output(net, x.to(memory_format=torch.channels_last))
    if not equal(y, right):
        return "another memory layout gives other values"
    if not y.is_contiguous(memory_format=torch.channels_last):
        return "the output leaves the memory layout of the input, so the layers behind it are slower"
    return ""


def _determinism(trial: Trial) -> str:
    for layout in trial.layouts:
        x = trial.input(layout)
        for training in (True, False):
            one, other = (output(trial.net(layout).train(training), x) for _ in range(2))
            if not torch.equal(one, other):
                return f"in {_mode(training)} the same seed gives other values"
        net = trial.net(layout).eval()
        before = torch.random.get_rng_state()
        net(x)
        if not torch.equal(before, torch.random.get_rng_state()):
            return "in evaluation it draws random numbers"
    return ""


def _randomness(trial: Trial) -> str:
    for layout in trial.layouts:
        net = trial.net(layout)
        if kept_ones := own_generators(net):
            return f"it keeps a generator of its own, {kept_ones[0]}, which no seed of a run and no checkpoint reaches"
        x = trial.input(layout)
        for training in (True, False):
            net.train(training)
            with watched(net) as made, torch.no_grad():
                net(x)
            if made:
                return (
                    f"in {_mode(training)} forward calls {made[0]}: a generator seeded there draws the same numbers in "
                    "every step; draw with torch.randn and the like, which follow the seed of a run"
                )
    return ""


def _round_trip(trial: Trial) -> str:
    for layout in trial.layouts:
        net, new = trial.net(layout), trial.fresh(layout)
        new.load_state_dict(_state(net))
        x = trial.input(layout)
        for training in (False, True):
            if not torch.equal(output(new.train(training), x), output(net.train(training), x)):
                names = ", ".join(name for name, _ in left_behind(net)) or "what it keeps"
                return f"in {_mode(training)} a new layer with its state_dict gives other values: make {names} a buffer"
    return ""


def _constant(trial: Trial) -> str:
    for layout in trial.layouts:
        for value in CONSTANTS:
            for training in (True, False):
                net, x = trial.net(layout).train(training), torch.full_like(trial.input(layout), value)
                y = output(net, x.requires_grad_())
                if not bool(torch.isfinite(y).all()):
                    return f"inputs that are all {value:g} become {float(y[~torch.isfinite(y)][0])}"
                if y.requires_grad:
                    (gradient,) = torch.autograd.grad((y * trial.input(layout, 4)).sum(), x, allow_unused=True)
                    if gradient is not None and not bool(torch.isfinite(gradient).all()):
                        return f"inputs that are all {value:g} have no finite gradient: add eps inside the root"
    return ""


CONTRACT: dict[str, Callable[[Trial], str]] = {
    "shapes": _shapes,
    "input": _input,
    "gradients": _gradients,
    "evaluation alone": _evaluation,
    "virtual devices": _virtual,
    "dtype": _dtype,
    "half precision": _half,
    "channels_last": _channels_last,
    "determinism": _determinism,
    "randomness": _randomness,
    "state_dict": _round_trip,
    **KEEPING,
    "constant input": _constant,
}


def kept(subject: str, trial: Trial) -> str:
    """What holds, in words."""
    return {
        "shapes": f"it takes {', '.join(LAYOUTS[layout] for layout in trial.facts.layouts)}, and keeps the shape",
        "input": "it is left as it is",
        "gradients": "those of finite differences, in float64, in training and evaluation",
        "evaluation alone": "an image gives the same alone as among others, and leaves no trace",
        "virtual devices": (
            "two give what two devices would" if trial.entry.facts["virtual"] else "it takes none: nothing to hold"
        ),
        "dtype": "float32 and float64 stay what they are",
        "half precision": "bfloat16 stays, and is close to float32",
        "channels_last": (
            "the same values in the same memory layout" if "image" in trial.layouts else "it takes no (N, C, H, W)"
        ),
        "determinism": "the same seed gives the same bits; evaluation draws nothing",
        "randomness": "it makes and seeds no generator of its own",
        "state_dict": "a new layer with it gives the same bits",
        "what it keeps": "parameters, buffers and layers that torch knows",
        "what it trains": (
            "a gradient reaches every parameter from where it starts"
            if trial.facts.parameters(trial.channels)
            else "nothing"
        ),
        "steps in a row": "each has its own backward pass, and leaves no graph behind",
        "evaluation follows": (
            "it computes what training does"
            if trial.facts.same_in_eval
            else "after many times the same batch it gives what training does"
            if gives_back(trial.facts)
            else "it moves with the batches of training"
        ),
        "constant input": f"output and gradient are finite; it becomes {trial.facts.constant}",
    }[subject]


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
