"""Norms whose statistics are shared by several images, and no norm at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from normbench.errors import UsageError
from normbench.norms.registry import register_norm

if TYPE_CHECKING:
    from torch import nn


@register_norm("none", axes="nothing", scope="none", same_in_eval=True)
def none(num_channels: int, spatial: bool = True) -> nn.Module:
    """The identity: y = x. No parameters. The baseline of a study."""
    from torch import nn

    return nn.Identity()


@register_norm("batch", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=True)
def batch(
    num_channels: int,
    spatial: bool = True,
    eps: float = 1e-5,
    momentum: float = 0.1,
    virtual_devices: int = 1,
) -> nn.Module:
    """Batch normalization over (N, H, W), for each channel: y = gamma (x - mean) / sqrt(var + eps) + beta.

    Training takes mean and biased variance from the images that one device holds; evaluation takes running
    averages, r <- (1 - momentum) r + momentum s, in which s of the variance is the unbiased one.
    gamma, beta: (C,). Running mean and variance: (C,).
    Source: Ioffe & Szegedy 2015 (arXiv 1502.03167), Algorithms 1 and 2.

    Args:
        num_channels: C.
        spatial: Input (N, C, H, W), or else (N, C).
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running averages.
        virtual_devices: Compute as so many data-parallel devices would: see `layers.VirtualBatchNorm`.
    """
    from torch import nn

    if virtual_devices > 1:
        from normbench.norms.layers import VirtualBatchNorm

        return VirtualBatchNorm(num_channels, virtual_devices, eps=eps, momentum=momentum)
    return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(num_channels, eps=eps, momentum=momentum)


@register_norm("sync_batch", axes="(N, H, W), all devices", scope="global", same_in_eval=False, cancels_bias=True)
def sync_batch(num_channels: int, spatial: bool = True, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Batch normalization with statistics over the batches of all devices together.

    Formula, parameters and running averages as `batch`. On GPUs this is torch's SyncBatchNorm; on CPU
    processes the same sums go through a differentiable all-reduce. Where nothing is distributed it is `batch`.
    Source: Peng et al. 2018, MegDet (arXiv 1711.07240), section 3.3; torch.nn.SyncBatchNorm.
    """
    from normbench.norms.layers import SyncBatchNorm

    return SyncBatchNorm(num_channels, eps=eps, momentum=momentum)


def _check_ghost(num_channels: int, spatial: bool, options: Mapping[str, Any]) -> None:
    if not isinstance(options["size"], int) or options["size"] < 1:
        raise UsageError(f"model.norm_options.size: a ghost batch has at least one image, not {options['size']!r}")


@register_norm(
    "ghost",
    axes="(N of a part, H, W)",
    scope="device",
    same_in_eval=False,
    cancels_bias=True,
    check=_check_ghost,
)
def ghost(
    num_channels: int, spatial: bool = True, size: int = 16, eps: float = 1e-5, momentum: float = 0.1
) -> nn.Module:
    """Ghost batch normalization: batch norm on consecutive parts of `size` images, each with its own statistics.

    Formula and parameters as `batch`; every part moves the running averages, one after the other.
    The batch of a device must be a multiple of `size`, or smaller than it.
    Source: Hoffer et al. 2017 (arXiv 1705.08741), Algorithm 1.
    """
    from normbench.norms.layers import GhostBatchNorm

    return GhostBatchNorm(num_channels, size, eps=eps, momentum=momentum)
