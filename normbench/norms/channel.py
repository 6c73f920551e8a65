"""Norms over the channels of one position, or of neighbouring channels: nothing is shared by two positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.norms.registry import register_norm
from normbench.norms.running import check_dimensions, check_values, wide
from normbench.spec.values import Count, NonNegative


class _OverChannels(nn.Module):
    """(x - mean) / sqrt(var + eps) over C at each position, in single precision at least."""

    def __init__(self, num_channels: int, eps: float) -> None:
        super().__init__()
        self.num_channels, self.eps = num_channels, eps

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}"

    def standardised(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """The above, times `weight` plus `bias` (C,) where they are given, in the input's type and memory layout."""
        check_dimensions(x)
        check_values(x, x.shape[1])
        # With the channels last it is torch's own kernel: by single operations it takes three to five times as long.
        last = wide(x).movedim(1, -1)
        weight, bias = (None if values is None else values.to(last.dtype) for values in (weight, bias))
        y = F.layer_norm(last, last.shape[-1:], weight, bias, self.eps).movedim(-1, 1).to(x.dtype)
        return y.contiguous() if x.is_contiguous() else y


@register_norm("layer_channels", axes="(C)", scope="sample", same_in_eval=True, cancels_bias=False)
class ChannelLayerNorm(_OverChannels):
    """Layer normalization over the C channels of each position, with gamma and beta for each channel.

    y[n, c, p] = gamma[c] (x[n, c, p] - mean[n, p]) / sqrt(var[n, p] + eps) + beta[c]; the variance is the biased one.
    Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,).

    This is the layer norm of transformers and of ConvNeXt, torch.nn.LayerNorm(C) on channels last; `layer` takes a
    statistic over (C, H, W). Behind a linear layer the two are one.

    Source: Ba, Kiros & Hinton 2016 (arXiv 1607.06450), equation 3; Liu et al. 2022, ConvNeXt (arXiv 2201.03545),
    section 2.6.

    Args:
        num_channels: C.
        eps: Added to the variance; 1e-6 in ConvNeXt.

    Example:
        >>> import torch
        >>> ChannelLayerNorm(2, eps=0)(torch.tensor([[[1.0, 50.0], [3.0, 10.0]]])).detach()  # (1, C=2, L=2)
        tensor([[[-1.,  1.],
                 [ 1., -1.]]])
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-6) -> None:
        super().__init__(num_channels, eps)
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.standardised(x, self.weight, self.bias)


@register_norm("position", axes="(C)", scope="sample", same_in_eval=True, cancels_bias=False)
class PositionNorm(_OverChannels):
    """Positional normalization (PONO): over the C channels of each position, without parameters.

    y[n, c, p] = (x[n, c, p] - mean[n, p]) / sqrt(var[n, p] + eps); the variance is the biased one.
    Input (N, C), (N, C, L) or (N, C, H, W). No parameters. The paper's moment shortcut, which puts mean and deviation
    back in a later layer, is a matter of the network and not here.

    Source: Li, Wu, Weinberger & Belongie 2019 (arXiv 1907.04312), figure 2 (what shares a statistic). The authors'
    TensorFlow code, in github.com/Boyiliee/PONO, computes the same; their PyTorch code takes the unbiased variance.

    Args:
        num_channels: C.
        eps: Added to the variance.

    Example:
        >>> import torch
        >>> PositionNorm(2, eps=0)(torch.tensor([[[1.0, 50.0], [3.0, 10.0]]]))  # (1, C=2, L=2)
        tensor([[[-1.,  1.],
                 [ 1., -1.]]])
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-5) -> None:
        super().__init__(num_channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.standardised(x)


@register_norm("local_response", axes="(C)", scope="sample", same_in_eval=True, cancels_bias=False)
class LocalResponseNorm(nn.Module):
    """Local response normalization: each channel against its neighbours at the same position.

    y[n, c, p] = x[n, c, p] / (k + alpha sum_j x[n, j, p]^2)^beta, j from c - floor(size / 2) to
    c + floor((size - 1) / 2) where such channels are. No centring, no trained parameters.
    Input (N, C), (N, C, L) or (N, C, H, W).

    `alpha` multiplies the sum, as in the paper; torch.nn.LocalResponseNorm divides it by `size`.

    Source: Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks,
    section 3.3, with its constants.

    Args:
        num_channels: C; not used.
        size: Number n of neighbouring channels, the channel itself among them.
        alpha: Weight of the sum of squares.
        beta: Exponent.
        k: What the sum is added to.

    Example:
        >>> import torch
        >>> LocalResponseNorm(3, size=3, alpha=1.0, beta=0.5, k=0.0)(torch.tensor([[3.0, 4.0, 0.0]]))
        tensor([[0.6000, 0.8000, 0.0000]])
    """

    def __init__(
        self,
        num_channels: int,
        size: Count = 5,
        alpha: NonNegative = 1e-4,
        beta: NonNegative = 0.75,
        k: NonNegative = 2.0,
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y = wide(x) if x.dim() > 2 else wide(x).unsqueeze(-1)
        y = F.local_response_norm(y, self.size, self.alpha * self.size, self.beta, self.k)
        return y.view_as(x).to(x.dtype) if x.dim() == 2 else y.to(x.dtype)
