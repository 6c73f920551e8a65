"""Norms of the weights before them: on activations they are the identity, and go with any other norm by `+`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization

from normbench.norms.contract import Reparametrizes, replaces_activation
from normbench.norms.registry import register_norm
from normbench.norms.running import batch_axes, spread, wide
from normbench.spec.values import Count, Positive

RELU = math.sqrt(2 / (1 - 1 / math.pi))  # gain that keeps the variance of a normal input through ReLU
CLAIMS = {"axes": "nothing", "scope": "none", "same_in_eval": True, "cancels_bias": False}


@register_norm("weight_norm", **CLAIMS)
class WeightNorm(nn.Identity):
    """Weight normalization: each filter of the layer before is a direction v and a trained length g.

    w[c] = g[c] v[c] / |v[c]|, |v| over all of the filter. v and g start at the drawn weight and its length; with
    `data_init` the first batch of the training then sets g and the bias so that what the layer gives has, in each
    channel, mean zero (where it has a bias) and variance one. The activations stay as they are: y = x. It adds a
    parameter for each channel, g.

    Source: Salimans & Kingma 2016 (arXiv 1602.07868), section 3 on the first batch;
    torch.nn.utils.parametrizations.weight_norm.

    Args:
        num_channels: C.
        data_init: Let the first batch set g and the bias.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1)
        >>> WeightNorm(1).reparametrize(layer)
        >>> layer(torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 1.0]])).std(correction=0).detach().round(decimals=4)
        tensor(1.)
    """

    started: Tensor

    def __init__(self, num_channels: int, data_init: bool = True) -> None:
        super().__init__()
        self.register_buffer("started", torch.tensor(not data_init))
        self._pending = data_init  # as the buffer, but read without waiting for a device

    def reparametrize(self, layer: nn.Module) -> None:
        """Divides the layer's weight into direction and length."""
        parametrizations.weight_norm(layer)
        layer.register_forward_pre_hook(self._start)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._pending = not bool(self.started)

    def _start(self, layer: Any, inputs: Any) -> None:
        if not (self._pending and layer.training):
            return
        self._pending = False
        with torch.no_grad():
            given = layer.forward(*inputs)
            # A linear layer has its channels last, whatever is before them (the tokens of a transformer).
            y = wide(given.flatten(0, -2) if isinstance(layer, nn.Linear) else given)
            mean = _of_all_devices(y.mean(batch_axes(y)))
            var = _of_all_devices((y - spread(mean, y)).square().mean(batch_axes(y)))
            scale = torch.rsqrt(var.clamp_min(1e-10))
            length = layer.parametrizations.weight.original0
            length *= scale.to(length.dtype).view_as(length)
            if layer.bias is not None:
                layer.bias.copy_((layer.bias - mean) * scale)
            self.started.fill_(True)


def _of_all_devices(mean: Tensor) -> Tensor:
    """The mean over all devices, so that all start alike."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(mean)
        mean.div_(dist.get_world_size())
    return mean


class _Standardised(nn.Module):
    """(w - mean) / deviation of each filter."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        var, mean = torch.var_mean(weight, tuple(range(1, weight.dim())), correction=0, keepdim=True)
        return (weight - mean) * torch.rsqrt(var + self.eps)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is drawn is the weight before it is standardised."""
        return weight


@register_norm("weight_std", **CLAIMS)
class WeightStandardisation(nn.Identity):
    """Weight standardisation: each filter of the layer before has mean zero and variance one.

    w[c] = (v[c] - mean of v[c]) / sqrt(var of v[c] + eps), the biased variance over all of the filter; v is trained,
    and drawn as the weight is. The activations stay as they are: y = x. No parameters. Meant for a norm of the
    activations behind it: `group + weight_std`.

    Source: Qiao et al. 2019 (arXiv 1903.10520), equations 5 to 7 (of the version on micro-batch training).

    Args:
        num_channels: C; not used.
        eps: Added to the variance.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> WeightStandardisation(1, eps=1e-12).reparametrize(layer)
        >>> layer.weight.abs().detach().round(decimals=4)
        tensor([[1., 1.]])
    """

    fewest_weights = 2  # of a filter: its mean is taken off

    def __init__(self, num_channels: int, eps: Positive = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def reparametrize(self, layer: nn.Module) -> None:
        """Standardises the layer's weight whenever it is used."""
        register_parametrization(layer, "weight", _Standardised(self.eps))


class _Scaled(nn.Module):
    """gain g (w - mean) / sqrt(fan in var) of each filter, with a trained g."""

    def __init__(self, weight: Tensor, gain: float, eps: float) -> None:
        super().__init__()
        self.factor, self.eps = gain, eps
        self.gain = nn.Parameter(weight.new_ones(len(weight), *[1] * (weight.dim() - 1)))

    def forward(self, weight: Tensor) -> Tensor:
        var, mean = torch.var_mean(weight, tuple(range(1, weight.dim())), correction=0, keepdim=True)
        scale = torch.rsqrt((var * weight[0].numel()).clamp_min(self.eps))
        return (weight - mean) * scale * (self.factor * self.gain)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is drawn is the weight before it is standardised."""
        return weight


@register_norm("scaled_weight_std", **CLAIMS)
class ScaledWeightStandardisation(nn.Identity):
    """Scaled weight standardisation: filters that keep the variance of their input, with a trained gain.

    w[c] = gain g[c] (v[c] - mean of v[c]) / sqrt(max(fan_in var of v[c], eps)), the biased variance over all of the
    filter, fan_in its number of entries. `gain` makes up for the activation: sqrt(2 / (1 - 1 / pi)) for ReLU. The
    activations stay as they are: y = x. It adds a parameter for each channel, g, at first one.

    Source: Brock, De & Smith 2021 (arXiv 2101.08692), section 4.2; eps as in the authors' NFNet code.

    Args:
        num_channels: C; not used.
        gain: Of the activation that follows.
        eps: Least of fan_in var.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> ScaledWeightStandardisation(1, gain=1.0, eps=1e-12).reparametrize(layer)
        >>> layer.weight.abs().detach()
        tensor([[0.7071, 0.7071]])
    """

    fewest_weights = 2  # of a filter: its mean is taken off

    def __init__(self, num_channels: int, gain: Positive = RELU, eps: Positive = 1e-4) -> None:
        super().__init__()
        self.gain, self.eps = gain, eps

    def reparametrize(self, layer: nn.Module) -> None:
        """Standardises and scales the layer's weight whenever it is used."""
        weight: Any = layer.weight
        register_parametrization(layer, "weight", _Scaled(weight, self.gain, self.eps))


@register_norm("spectral", **CLAIMS)
class SpectralNorm(nn.Identity):
    """Spectral normalization: the weight of the layer before is divided by its largest singular value.

    w = v / sigma(v), v as a matrix (C, rest), sigma by a power iteration whose vectors are kept from step to step;
    evaluation takes them as they are. The activations stay as they are: y = x. No parameters.

    Source: Miyato et al. 2018 (arXiv 1802.05957), equation 8, section 2.2 on the iteration;
    torch.nn.utils.parametrizations.spectral_norm.

    Args:
        num_channels: C; not used.
        iterations: Power iterations a step.
        eps: Added where the vectors are normalised.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> SpectralNorm(2, iterations=20).reparametrize(layer)
        >>> torch.linalg.svdvals(layer.weight)[0].detach().round(decimals=3)
        tensor(1.)
    """

    def __init__(self, num_channels: int, iterations: Count = 1, eps: Positive = 1e-12) -> None:
        super().__init__()
        self.iterations, self.eps = iterations, eps

    def reparametrize(self, layer: nn.Module) -> None:
        """Divides the layer's weight whenever it is used."""
        parametrizations.spectral_norm(layer, n_power_iterations=self.iterations, eps=self.eps)


class Combined(nn.Module):
    """A norm with others that act on the weights before it: `group + weight_std`."""

    def __init__(self, norm: nn.Module, others: Sequence[nn.Module]) -> None:
        super().__init__()
        self.norm, self.others = norm, nn.ModuleList(others)
        self.replaces_activation = replaces_activation(norm)

    def reparametrize(self, layer: nn.Module) -> None:
        """Lets all that act on weights do so, from left to right."""
        for part in (self.norm, *self.others):
            if isinstance(part, Reparametrizes):
                part.reparametrize(layer)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y
