"""The contract of initial values: every parameter and buffer of a network is claimed by exactly one rule.

| word | what | value |
|---|---|---|
| `init` | random weight or bias of a convolution or linear layer | drawn by (seed, name) under `model.init` |
| `reset` | random parameter of another layer with `reset_parameters` | the layer's own, seeded by (seed, its name) |
| `drawn` | random parameter or buffer that the builder drew | the builder's distribution, seeded by (seed, name) |
| `fixed` | what is the same in every build: zeros, ones, a table | as the builder set it |

A layer's attribute `initial_gain` multiplies the weight that is drawn for it (fixup sets one).
So layers of the same name and shape start equal whatever stands between them, and a norm, or a convolution without
its bias, moves nothing else. Whether something is random is not declared but seen: the network is built twice, from
different seeds. What is random and cannot be repeated (drawn by numpy, say) is an error that names it.

The default rule, `torch`, leaves a layer to its builder: a weight that the builder draws anew after torch did is
`drawn`. Any other rule holds for all convolutions and linear layers whose weights are random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized

from normbench.errors import UsageError
from normbench.models.scalars import GAIN
from normbench.seeds import generator, own_generators
from normbench.train.draws import NamedDraws, Origins, reset_method
from normbench.train.randomness import preserved_generators, seed_generators

Word = Literal["init", "reset", "drawn", "fixed"]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Rule:
    """How weights and biases of convolutions and linear layers are drawn.

    Args:
        weight: torch (uniform within 1/sqrt(fan in)), xavier_uniform, xavier_normal (Glorot & Bengio 2010, equations
            16 and 12), he_uniform, he_normal (He et al. 2015, equation 10), lecun_uniform, lecun_normal (variance
            1 / fan in; LeCun et al. 1998, section 4.6), normal, or truncated_normal (cut at two std).
        std: Standard deviation of normal, and of truncated_normal before it is cut.
        bias: torch (uniform within 1/sqrt(fan in)), or a number.
    """

    weight: str = "torch"
    std: float | None = None
    bias: str | float = "torch"

    def draw(self, weight: Tensor, random: torch.Generator) -> None:
        """Fills a weight of shape (out, in / groups, *kernel) in place."""
        fan_in, fan_out = fans(weight)
        kind, _, shape = self.weight.partition("_")
        if kind == "torch":
            # Kaiming uniform with a = sqrt(5), torch's default, is U(-b, b) with b = 1 / sqrt(fan in).
            weight.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=random)
            return
        if kind in ("normal", "truncated"):
            if self.std is None:
                raise UsageError(f"model.init={self.weight} needs model.init_std")
            if kind == "truncated":
                nn.init.trunc_normal_(weight, 0.0, self.std, -2 * self.std, 2 * self.std, generator=random)
                return
            variance, shape = self.std**2, "normal"
        else:
            variance = {"xavier": 2 / (fan_in + fan_out), "he": 2 / fan_in, "lecun": 1 / fan_in}[kind]
        if shape == "normal":
            weight.normal_(0.0, math.sqrt(variance), generator=random)
        else:
            bound = math.sqrt(3 * variance)
            weight.uniform_(-bound, bound, generator=random)


def fans(weight: Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a weight (out, in / groups, *kernel), as torch counts them."""
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


def initialise(build: Build, seed: int, rule: Rule | None = None) -> nn.Module:
    """The network that `build` makes, with every initial value decided by (seed, name). See the module.

    Args:
        build: Makes the network on the CPU; called several times, and must make the same one except for its draws.
        seed: Seed of the run.
        rule: How convolutions and linear layers are drawn.

    Raises:
        UsageError: A parameter or buffer that is random and not drawn by torch's global generator, or a network that
            is another one each time, has parameters without a shape yet, or holds a random generator of its own.

    Example:
        >>> net = initialise(lambda: nn.Linear(3, 2), seed=0)
        >>> claims(net)
        {'weight': 'init', 'bias': 'init'}
    """
    rule = rule or Rule()
    with preserved_generators():
        origins = Origins()
        seed_generators(seed, "build", 1)
        with origins:
            net = build()
        for name in own_generators(net):
            raise UsageError(
                f"'{name}' of the model is a random generator of its own, which neither the seed of a run nor its "
                "checkpoint decides: draw from torch's global one (torch.rand without generator=)"
            )
        seed_generators(seed, "build", 2)
        random = _differing(net, build())
        found: dict[str, Word] = {}
        with torch.no_grad():
            for name, module in net.named_modules():
                _claim_layer(name, module, rule, seed, random, origins, found)
                _claim_reset(name, module, seed, random, origins, found)
        left = random - found.keys()
        if left:
            _draw_named(net, build, seed, left)
            found |= dict.fromkeys(left, "drawn")
        with torch.no_grad():
            _settle_spectral_norms(net)
        net.__dict__["_claims"] = {name: found.get(name, "fixed") for name in _tensors(net)}
    return net


def claims(net: nn.Module) -> Mapping[str, Word]:
    """Which rule decided each parameter and buffer of a network that `initialise` made, by name."""
    found: Mapping[str, Word] = net.__dict__["_claims"]
    return found


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; one that is shared comes once, under its first name."""
    found: dict[str, Tensor] = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, tensor in found.items():
        if isinstance(tensor, UninitializedParameter):
            raise UsageError(f"parameter '{name}' has no shape before the first batch: give its layer all its sizes")
    return found


def _differing(one: nn.Module, two: nn.Module) -> set[str]:
    """Names of what differs between two builds. Raises UsageError where the networks themselves differ."""
    first, second = _tensors(one), _tensors(two)
    for name in first.keys() ^ second.keys():
        raise UsageError(f"the model's builder makes '{name}' in one call and not in the next: build from the options")
    for name, tensor in first.items():
        if tensor.shape != second[name].shape:
            raise UsageError(f"the model's builder gives '{name}' another shape in each call: build from the options")
    return {name for name, tensor in first.items() if not _equal(tensor, second[name])}


def _equal(one: Tensor, two: Tensor) -> bool:
    if one.is_floating_point():
        return bool(((one == two) | (one.isnan() & two.isnan())).all())
    return torch.equal(one, two)


def _own(name: str, module: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """(key, full name, parameter) of a module's own parameters."""
    for key, parameter in module.named_parameters(recurse=False):
        yield key, f"{name}.{key}" if name else key, parameter


def _claim_layer(
    name: str,
    module: nn.Module,
    rule: Rule,
    seed: int,
    random: set[str],
    origins: Origins,
    found: dict[str, Word],
) -> None:
    """Draws the random weight and bias of a convolution or linear layer under the rule."""
    if not isinstance(module, _ConvNd | nn.Linear):
        return
    full = f"{name}." if name else ""
    weight_names = [f"{full}weight"]
    if is_parametrized(module, "weight"):
        prefix = f"{full}parametrizations.weight."
        weight_names = [n for n in random if n.startswith(f"{prefix}original")]
    weight = module.weight
    # The effective weight of a parametrised layer is made anew by its parametrisation: nobody drew it by itself.
    parametrised = is_parametrized(module, "weight")
    if random.intersection(weight_names) - found.keys() and (
        rule.weight != "torch" or parametrised or origins.drawn_by(weight, module)
    ):
        value = torch.empty_like(weight)
        rule.draw(value, generator(seed, "init", f"{name}.weight"))
        value *= getattr(module, GAIN, 1.0)
        _assign(module, value)
        found |= dict.fromkeys(weight_names, "init")
    bias, bias_name = module.bias, f"{full}bias"
    if bias is None or bias_name not in random or bias_name in found or is_parametrized(module, "bias"):
        return
    if rule.bias != "torch":
        bias.fill_(float(rule.bias))
    elif rule.weight != "torch" or origins.drawn_by(bias, module):
        bound = fans(weight)[0] ** -0.5
        bias.uniform_(-bound, bound, generator=generator(seed, "init", f"{name}.bias"))
    else:
        return
    found[bias_name] = "init"


def _assign(layer: nn.Module, value: Tensor) -> None:
    """Makes `value` the effective weight of a layer, through its parametrisations where it has some."""
    if not is_parametrized(layer, "weight"):
        layer.weight.copy_(value)  # type: ignore[operator]  # a Parameter
        return
    parts: Any = layer.parametrizations.weight  # type: ignore[union-attr]
    try:
        parts.right_inverse(value)
    except NotImplementedError:  # one that cannot be inverted starts from the drawn value
        parts.original.copy_(value)


def _settle_spectral_norms(net: nn.Module) -> None:
    """Lets the vectors of spectral norms belong to the weight that was drawn, as their constructor does."""
    for module in net.modules():
        if is_parametrized(module, "weight"):
            parts: Any = cast(Any, module).parametrizations.weight
            for part in parts:
                if hasattr(part, "_power_method"):
                    part._power_method(part._reshape_weight_to_matrix(parts.original), 15)


def _claim_reset(
    name: str, module: nn.Module, seed: int, random: set[str], origins: Origins, found: dict[str, Word]
) -> None:
    """Resets a layer of another kind under a seed of its own, and takes over what it alone had drawn."""
    reset = reset_method(module)
    own = {
        full: parameter
        for _, full, parameter in _own(name, module)
        if full in random and full not in found and origins.drawn_by(parameter, module)
    }
    if reset is None or not own:
        return
    # A reset also touches what the builder set, and layers inside: they are put back.
    others = [
        (p, p.clone()) for p in [*module.parameters(), *module.buffers()] if all(p is not q for q in own.values())
    ]
    torch.manual_seed(generator(seed, "init", name).initial_seed())
    reset()
    for tensor, value in others:
        tensor.copy_(value)
    found |= dict.fromkeys(own, "reset")


def _draw_named(net: nn.Module, build: Build, seed: int, names: set[str]) -> None:
    """Gives what the builder drew itself values that depend on (seed, name) alone.

    For each of them the network is built once more, with every draw reseeded from (seed, name, kind of draw, shape,
    how many such draws came before from the same function).
    """
    checks = []
    for attempt in (1, 2):  # other seeds for whatever the named draws do not govern
        seed_generators(seed, "check", attempt)
        with NamedDraws(seed, "check"):
            checks.append(_tensors(build()))
    for name in sorted(names):
        if not _equal(checks[0][name], checks[1][name]):
            raise UsageError(
                f"'{name}' of the model is random, but not from torch's generator, so that a seed does not repeat it: "
                "draw it with torch (torch.randn, torch.nn.init), without a generator of its own"
            )
    tensors = _tensors(net)
    with torch.no_grad():
        for name in sorted(names):
            seed_generators(seed, "build", name)
            with NamedDraws(seed, name):
                tensors[name].copy_(_tensors(build())[name])
