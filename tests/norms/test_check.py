"""The contract over every registered norm, and over layers that break it, each in its own way."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from torch import Tensor, nn
from torch.nn import functional

from normbench.errors import UsageError
from normbench.norms import NORMS, register_norm
from normbench.norms.check import check, holds
from normbench.norms.points import CONTRACT
from normbench.norms.registry import norm_entry
from normbench.norms.subject import named_norm, registered

# Constants to autograd; and a gradient that is corrected from step to step.
BY_DESIGN = {name: {"gradients"} for name in ("detached_batch", "detached_layer", "online_norm")}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NORMS),
    ("group", {"groups": 2}),
    ("ghost", {"size": 4}),
    ("online_norm", {"decay": 0.5, "guard": "layer_scaling"}),
    ("group + weight_std", {}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value) if value else "default")
def test_every_norm_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    state = torch.random.get_rng_state()
    findings = check(named_norm(name), options)
    assert {f.subject: f.told for f in findings if f.holds is False}.keys() == BY_DESIGN.get(name, set())
    assert {f.subject for f in findings} >= set(CONTRACT)
    assert torch.equal(torch.random.get_rng_state(), state)


def fact(name: str, subject: str) -> str:
    return next(f.told for f in check(named_norm(name)) if f.subject == subject)


@pytest.mark.parametrize(
    ("name", "factor", "shift"),
    [
        ("batch", "the whole batch, each channel", "the whole batch, each channel"),
        ("layer", "the whole batch, each image", "the whole batch, each image"),
        ("rms", "the whole batch, each image", None),
        ("dyt", None, None),
    ],
)
def test_what_a_factor_and_a_shift_do(name: str, factor: str | None, shift: str | None) -> None:
    for subject, parts in (("a factor", factor), ("a shift", shift)):
        assert fact(name, subject) == (f"has no effect on {parts}" if parts else "has an effect")


class Whole(nn.Module):
    """Centred over each image, which keeps the whole contract; what is below breaks it somewhere."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        y = x.float() if x.dtype == torch.bfloat16 else x
        return self.normed(y).to(x.dtype)

    def normed(self, x: Tensor) -> Tensor:
        return x - x.mean(tuple(range(1, x.dim())), keepdim=True)


class NoEps(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return x / x.std(tuple(range(1, x.dim())), keepdim=True)


class Rooted(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return x * torch.sqrt(x.square().mean(1, keepdim=True))


class NoAverages(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return x - x.mean((0, *range(2, x.dim())), keepdim=True)


class Noisy(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Dropped(Whole):
    """Random in training, by torch's generator and numpy's, which the seed of a run decides: nothing is wrong."""

    def normed(self, x: Tensor) -> Tensor:
        y = functional.dropout(super().normed(x), 0.3, self.training)
        return y * np.random.uniform(0.5, 1) if self.training else y


class DrawnByValue(Whole):
    """Draws for negative values alone, so that the sign of one decides what those after it get."""

    def normed(self, x: Tensor) -> Tensor:
        return functional.rrelu(super().normed(x), training=self.training)


class Reseeded(Whole):
    """The same noise in every step: each seed repeats its bits, and nothing else tells it from a norm without noise."""

    def normed(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().normed(x)
        noise = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(1), dtype=x.dtype)
        return super().normed(x) + noise.view(1, -1, *[1] * (x.dim() - 2))


class ReseededNumpy(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return super().normed(x) + (float(default_rng(3).normal()) if self.training else 0)


class Keeper(Whole):
    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.generator = random.Random(4)


class Unregistered(Whole):
    seen: Any = 0.0

    def normed(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = 0.9 * self.seen + 0.1 * float(x.mean())
            return super().normed(x)
        return x - self.seen


class Restless(Whole):
    calls: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.register_buffer("calls", torch.zeros(()))

    def normed(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().normed(x)


class Detached(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return x * x.detach().mean(1, keepdim=True)


class Widening(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return self.normed(x.float() if x.dtype == torch.bfloat16 else x)


class Rounding(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 256) - (x + 256).mean(1, keepdim=True)


class Double(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return self.normed(x.double())


class Single(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class Rearranging(Whole):
    def normed(self, x: Tensor) -> Tensor:
        return super().normed(x).contiguous()


class Flat(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Played(Whole):
    def __init__(self, num_channels: int, virtual_devices: int = 1) -> None:
        super().__init__(num_channels)

    def normed(self, x: Tensor) -> Tensor:
        return x - x.mean((0, *range(2, x.dim())), keepdim=True) if self.training else x


class InPlace(Whole):
    def forward(self, x: Tensor) -> Tensor:
        x -= x.mean(tuple(range(1, x.dim())), keepdim=True)
        return x


class Silent(Whole):
    def normed(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x.sub_(x.mean(tuple(range(1, x.dim())), keepdim=True))
        return x * 1


class LastAxis(Whole):
    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.weight = nn.Parameter(torch.ones(num_channels))

    def normed(self, x: Tensor) -> Tensor:
        return super().normed(x) * self.weight


class Bounded(Whole):
    """A gate that starts at the end of a clamp, where no gradient passes; ReLU is such at 0 in every version."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.gate = nn.Parameter(torch.zeros(()))

    def normed(self, x: Tensor) -> Tensor:
        return super().normed(x) * (1 - self.gate.relu())


class Hidden(Whole):
    """A weight behind a factor that starts at zero: the factor moves first, and then it trains."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.factor, self.weight = nn.Parameter(torch.zeros(())), nn.Parameter(torch.ones(()))

    def normed(self, x: Tensor) -> Tensor:
        return super().normed(x) * (1 + self.factor * self.weight)


class Averaging(Whole):
    """Centred and scaled over the batch, with running averages; what is below keeps them in the wrong way."""

    mean: Tensor
    var: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.register_buffer("mean", torch.zeros(num_channels))
        self.register_buffer("var", torch.ones(num_channels))

    def normed(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, (0, *range(2, x.dim())), correction=0)
        if self.training:
            self.move(mean, var)
        else:
            mean, var = self.mean, self.var
        shape = (1, -1, *[1] * (x.dim() - 2))
        return (x - mean.view(shape)) * torch.rsqrt(var.view(shape) + 1e-5)

    def move(self, mean: Tensor, var: Tensor) -> None:
        self.mean.lerp_(mean.detach().to(self.mean.dtype), 0.1)
        self.var.lerp_(self.spread(var.detach()).to(self.var.dtype), 0.1)

    def spread(self, var: Tensor) -> Tensor:
        return var


class OfDeviations(Averaging):
    def spread(self, var: Tensor) -> Tensor:
        return var.sqrt()


class Standing(Averaging):
    def spread(self, var: Tensor) -> Tensor:
        return torch.ones_like(var)


class Slow(Averaging):
    """A momentum of .002 takes its time: nothing is wrong."""

    def move(self, mean: Tensor, var: Tensor) -> None:
        self.mean.lerp_(mean.detach().to(self.mean.dtype), 0.002)
        self.var.lerp_(var.detach().to(self.var.dtype), 0.002)


class KeepsGraph(Averaging):
    def move(self, mean: Tensor, var: Tensor) -> None:
        self.mean, self.var = 0.9 * self.mean + 0.1 * mean, 0.9 * self.var + 0.1 * var


class Listed(Averaging):
    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.running = [torch.zeros(num_channels), torch.ones(num_channels)]

    def normed(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, (0, *range(2, x.dim())), correction=0)
        if self.training:
            self.running = [0.9 * old + 0.1 * new.detach() for old, new in zip(self.running, (mean, var), strict=True)]
        else:
            mean, var = self.running
        shape = (1, -1, *[1] * (x.dim() - 2))
        return (x - mean.view(shape)) * torch.rsqrt(var.view(shape) + 1e-5)


class ListedParameter(Whole):
    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.gains = {"all": nn.Parameter(torch.ones(()))}

    def normed(self, x: Tensor) -> Tensor:
        return super().normed(x) * self.gains["all"]


class ListedLayer(Whole):
    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.layers = [nn.Tanh()]


class Constants(Whole):
    """A number goes with any device and dtype, and a tensor that is made where it is needed with its input's."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.two, self.mask = torch.tensor(2.0), None

    def normed(self, x: Tensor) -> Tensor:
        self.mask = torch.ones_like(x)
        return self.two * super().normed(x) * self.mask


@pytest.mark.parametrize(
    ("build", "subjects", "said"),
    [
        (Whole, set(), None),
        (NoEps, {"constant input"}, "inputs that are all 0 become nan"),
        (Rooted, {"constant input"}, "no finite gradient: add eps"),
        (NoAverages, {"evaluation alone"}, "an image alone gives other values"),
        (Noisy, {"evaluation alone", "determinism", "channels_last"}, "in evaluation it draws random numbers"),
        (Dropped, set(), None),
        (DrawnByValue, {"shapes"}, "the values that it is given in training decide how many random numbers it draws"),
        (Reseeded, {"randomness"}, "in training forward calls torch.Generator"),
        (ReseededNumpy, {"randomness", "evaluation follows"}, "in training forward calls np.random.default_rng"),
        (Keeper, {"randomness"}, "it keeps a generator of its own, generator"),
        (Unregistered, {"state_dict"}, "make what it keeps a buffer"),
        (Restless, {"evaluation alone"}, "it changes calls"),
        (Detached, {"gradients"}, "is not that of finite differences"),
        (Widening, {"half precision"}, "bfloat16 becomes float32"),
        (Rounding, {"half precision"}, "compute the statistics of x.float()"),
        (Double, {"dtype", "half precision"}, "float32 becomes float64"),
        (Single, {"shapes"}, "cannot be measured: RuntimeError: Float did not match Double"),
        (Rearranging, {"channels_last"}, "leaves the memory layout"),
        (Flat, {"shapes"}, "(N, C, H, W) is not refused, and (8, 8, 5, 3) becomes (8, 120)"),
        (Played, {"virtual devices", "evaluation follows"}, "than two devices with half"),
        (InPlace, {"input"}, "in training it writes into its input"),
        (Silent, {"input", "gradients"}, "in training it writes into its input"),
        (Bounded, {"what it trains"}, "no gradient reaches gate from where it starts: it would never train"),
        (Hidden, set(), None),
        (LastAxis, {"shapes"}, "(8, 2, 3, 2) is taken, and (8, 2, 2, 3) is refused: The size of tensor a"),
        (Averaging, set(), None),
        (Slow, set(), None),
        (OfDeviations, {"evaluation follows"}, "after 6,400 times the same batch, evaluation is still"),
        (Standing, {"evaluation follows"}, "running statistics that do not move, or are of something else"),
        (KeepsGraph, {"steps in a row"}, "mean keeps the graph of every step before"),
        (Listed, {"what it keeps", "state_dict"}, "make running[0], running[1] a buffer"),
        (Listed, {"what it keeps", "state_dict"}, "running[0] is a tensor that is no buffer"),
        (ListedParameter, {"what it keeps"}, "gains['all'] is a parameter in no nn.ParameterList"),
        (ListedLayer, {"what it keeps"}, "layers[0] is a layer in no nn.ModuleList"),
        (Constants, set(), None),
    ],
)
def test_what_breaks_the_contract_is_named(build: Any, subjects: set[str], said: str | None) -> None:
    findings = check(norm_entry("plugin", build, {}))
    broken = {f.subject: f.told for f in findings if f.holds is False}
    assert broken.keys() == subjects, broken
    assert holds(findings) == (not subjects)
    assert said is None or any(said in told for told in broken.values()), broken


def test_a_batch_norm_declared_as_per_sample_is_named() -> None:
    claims = {"scope": "sample", "axes": "(H, W)", "same_in_eval": True}
    broken = {f.subject: f.told for f in check(norm_entry("mine", NoAverages, claims)) if f.holds is False}
    assert broken.keys() == {"evaluation alone", "claims scope", "claims axes"}
    assert "norm 'mine' claims scope='sample', but its scope is measured as 'device'" in broken["claims scope"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "stranger.py"
    path.write_text(
        "from torch import nn\nfrom normbench import register_norm\n"
        "class Loose(nn.Tanh):\n    def __init__(self, width):\n        super().__init__()\n"
        "@register_norm('strict', scope='none')\n"
        "class Strict(nn.Tanh):\n    def __init__(self, num_channels: int):\n        super().__init__()\n"
        "number = 3\n"
    )
    yield path
    if "strict" in NORMS:
        NORMS.remove("strict")


def test_a_norm_is_found_in_its_file(file: Path) -> None:
    loose, strict = named_norm(f"{file}:Loose"), named_norm(f"{file}:Strict")
    assert (loose.name, registered(loose), loose.options) == ("Loose", False, {})
    assert (strict.name, registered(strict), strict.facts["claims"]) == ("strict", True, {"scope": "none"})
    assert named_norm(f"{file}:strict") is strict
    findings = check(loose)
    assert holds(findings)
    assert findings[0].told.endswith("call its first parameter num_channels, not width")
    for name, said in (("Loos", "did you mean 'Loose'"), ("number", "is no class and no function: it is int")):
        with pytest.raises(UsageError, match=said):
            named_norm(f"{file}:{name}")
    with pytest.raises(UsageError, match="say which norm of the file"):
        named_norm(str(file))


def test_a_registered_class_is_the_same_from_both_sides() -> None:
    register_norm("plugin")(Whole)
    try:
        assert registered(named_norm("plugin"))
        assert not registered(norm_entry("plugin", Whole, {}))
    finally:
        NORMS.remove("plugin")


class OfVectors(nn.Module):
    """Layer norm of (N, C), which takes nothing else."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        count, channels = x.shape
        return torch.nn.functional.layer_norm(x.reshape(count, channels), [channels])


def test_a_norm_of_vectors_alone_is_tried_on_vectors() -> None:
    findings = check(norm_entry("plugin", OfVectors, {}))
    told = {f.subject: f.told for f in findings}
    assert holds(findings), told
    assert told["averages over"] == "(C)"
    assert told["shapes"] == "it takes (N, C), and keeps the shape"
