"""Norms that look at one image at a time; they compute the same in training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from normbench.errors import UsageError
from normbench.norms.registry import register_norm

if TYPE_CHECKING:
    from torch import nn


@register_norm("layer", axes="(C, H, W)", scope="sample", same_in_eval=True)
def layer(num_channels: int, spatial: bool = True, eps: float = 1e-5) -> nn.Module:
    """Layer normalization over (C, H, W) of each image, with one gamma and beta for each channel.

    y[n, c] = gamma[c] (x[n, c] - mean[n]) / sqrt(var[n] + eps) + beta[c]. gamma, beta: (C,).
    This is the LN that the Group Normalization paper compares with, equal to `group` with one group; it is
    neither torch.nn.LayerNorm([C, H, W]), which has C*H*W weights, nor a norm over C at each pixel (ConvNeXt).
    Source: Ba, Kiros & Hinton 2016 (arXiv 1607.06450), equation 3; Wu & He 2018 (arXiv 1803.08494), section 3.1.
    """
    from torch import nn

    return nn.GroupNorm(1, num_channels, eps=eps)


@register_norm("instance", axes="(H, W)", scope="sample", same_in_eval=True, cancels_bias=True, linear=False)
def instance(num_channels: int, spatial: bool = True, eps: float = 1e-5) -> nn.Module:
    """Instance normalization over (H, W) of each channel of each image, with gamma and beta.

    y[n, c] = gamma[c] (x[n, c] - mean[n, c]) / sqrt(var[n, c] + eps) + beta[c]. gamma, beta: (C,).
    Affine (torch's default is not) and without running statistics, so that training and evaluation agree.
    Source: Ulyanov, Vedaldi & Lempitsky 2016 (arXiv 1607.08022), equation 4.
    """
    from normbench.norms.layers import InstanceNorm

    return InstanceNorm(num_channels, eps=eps)


def _check_groups(num_channels: int, spatial: bool, options: Mapping[str, Any]) -> None:
    groups = options["groups"]
    if not isinstance(groups, int) or groups < 1 or num_channels % groups:
        divisors = [str(d) for d in range(1, num_channels + 1) if num_channels % d == 0]
        raise UsageError(
            f"model.norm_options.groups={groups!r} does not divide {num_channels} channels: "
            f"choose one of {', '.join(divisors)}"
        )
    if not spatial and groups == num_channels:
        raise UsageError(
            f"model.norm_options.groups={groups} leaves one value in each group on a linear layer of "
            f"{num_channels} units: choose fewer groups"
        )


@register_norm(
    "group",
    axes="(C of a group, H, W)",
    scope="sample",
    same_in_eval=True,
    check=_check_groups,
    # With more than one channel in a group only the part of the bias that the group has in common goes away.
    cancels_bias=lambda num_channels, options: options["groups"] == num_channels,
)
def group(num_channels: int, spatial: bool = True, groups: int = 8, eps: float = 1e-5) -> nn.Module:
    """Group normalization over (H, W) and the C / groups channels of a group, for each image.

    y[n, c] = gamma[c] (x[n, c] - mean[n, g(c)]) / sqrt(var[n, g(c)] + eps) + beta[c]. gamma, beta: (C,).
    One group is `layer`; as many groups as channels is `instance`.
    Source: Wu & He 2018 (arXiv 1803.08494), equations 2 to 7.

    Args:
        num_channels: C, a multiple of `groups`.
        spatial: Input (N, C, H, W), or else (N, C).
        groups: Number of groups.
        eps: Added to the variance.
    """
    from torch import nn

    return nn.GroupNorm(groups, num_channels, eps=eps)
