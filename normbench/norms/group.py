"""Norms that look at one image at a time; they compute the same in training and evaluation.

Memory layout: on a CPU torch's group norm keeps channels_last. On CUDA it does not: `native_group_norm` calls
`contiguous()`, so a channels_last network pays for a copy to NCHW before such a norm and one back after it, which
batch norm does not. (torch's instance norm makes the copies on either; so `InstanceNorm` here is a group norm.)
"""

from __future__ import annotations

from torch import Tensor, nn

from normbench.norms.registry import register_norm
from normbench.norms.running import check_groups
from normbench.spec.values import Count, NonNegative


class _ImageNorm(nn.GroupNorm):
    """torch's group norm, which refuses an input that has one value for each statistic: nothing of it is left."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's own name)
        if input.shape[1:].numel() <= self.num_groups:
            raise ValueError(
                f"{type(self).__name__} needs more than one value for each mean, got an input of {tuple(input.shape)} "
                f"in {self.num_groups} groups of channels"
            )
        return super().forward(input)


@register_norm("layer", axes="(C, H, W)", scope="sample", same_in_eval=True, cancels_bias=False)
class LayerNorm(_ImageNorm):
    """Layer normalization over (C, H, W) of each image, with one gamma and beta for each channel.

    y[n, c] = gamma[c] (x[n, c] - mean[n]) / sqrt(var[n] + eps) + beta[c]; the variance is the biased one.
    Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,).

    This is the LN that the Group Normalization paper compares with, equal to `group` with one group; it is
    neither torch.nn.LayerNorm([C, H, W]), which has C*H*W weights, nor a norm over C at each pixel (ConvNeXt).

    Source: Ba, Kiros & Hinton 2016 (arXiv 1607.06450), equation 3; Wu & He 2018 (arXiv 1803.08494), section 3.1,
    equation 4.

    Args:
        num_channels: C.
        eps: Added to the variance.

    Example:
        >>> import torch
        >>> LayerNorm(2, eps=0)(torch.tensor([[1.0, 3.0], [10.0, 50.0]])).detach()
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-5) -> None:
        super().__init__(1, num_channels, eps=eps)


@register_norm("instance", axes="(H, W)", scope="sample", same_in_eval=True, cancels_bias=True)
class InstanceNorm(_ImageNorm):
    """Instance normalization over (H, W) of each channel of each image, with gamma and beta.

    y[n, c] = gamma[c] (x[n, c] - mean[n, c]) / sqrt(var[n, c] + eps) + beta[c]; the variance is the biased one.
    Input (N, C, L) or (N, C, H, W) with at least two positions. gamma, beta: (C,).

    Affine (torch's default is not) and without running statistics, so that training and evaluation agree.

    Source: Ulyanov, Vedaldi & Lempitsky 2016 (arXiv 1607.08022), section 2, equation 3; Wu & He 2018
    (arXiv 1803.08494), equation 5.

    Args:
        num_channels: C.
        eps: Added to the variance.

    Example:
        >>> import torch
        >>> InstanceNorm(2, eps=0)(torch.tensor([[[1.0, 3.0], [50.0, 10.0]]])).detach()
        tensor([[[-1.,  1.],
                 [ 1., -1.]]])
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-5) -> None:
        super().__init__(num_channels, num_channels, eps=eps)


@register_norm(
    "group",
    axes="(C of a group, H, W)",
    scope="sample",
    same_in_eval=True,
    # With more than one channel in a group only the part of the bias that the group has in common goes away.
    cancels_bias=lambda num_channels, options: options["groups"] == num_channels,
)
class GroupNorm(_ImageNorm):
    """Group normalization over (H, W) and the C / groups channels of a group, for each image.

    y[n, c] = gamma[c] (x[n, c] - mean[n, g(c)]) / sqrt(var[n, g(c)] + eps) + beta[c], where g(c) is the group of
    channel c; the variance is the biased one. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,).

    One group is `layer`; as many groups as channels is `instance`.

    Source: Wu & He 2018 (arXiv 1803.08494), section 3.1, equation 7.

    Args:
        num_channels: C, a multiple of `groups`.
        groups: Number of groups.
        eps: Added to the variance.

    Example:
        >>> import torch
        >>> GroupNorm(4, groups=2, eps=0)(torch.tensor([[1.0, 3.0, 50.0, 10.0]])).detach()
        tensor([[-1.,  1.,  1., -1.]])
    """

    def __init__(self, num_channels: int, groups: Count = 8, eps: NonNegative = 1e-5) -> None:
        check_groups(groups, num_channels)
        super().__init__(groups, num_channels, eps=eps)
