"""Whitening: channels are not only centred and scaled but made uncorrelated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.norms.registry import register_norm
from normbench.norms.running import check_dimensions, check_values, spread, wide
from normbench.spec.values import Count, Momentum, Positive


@register_norm("iter_norm", axes="(N, C, H, W)", scope="device", same_in_eval=False, cancels_bias=True)
class IterNorm(nn.Module):
    """Iterative normalization: `size` channels at a time are whitened over (N, H, W) by Newton's iterations.

    With m values for each channel and X (size, m) centred: S = X X^T / m + eps I, S' = S / trace(S), P_0 = I,
    P_k = (3 P_{k-1} - P_{k-1}^3 S') / 2 for `iterations`, W = P / sqrt(trace(S)), y = gamma[c] (W X)[c] + beta[c].
    W tends to S^(-1/2). Evaluation takes running averages of mean and W. Input (N, C), (N, C, L) or (N, C, H, W).
    gamma, beta, running mean: (C,); running W: (C / size, size, size).

    Source: Huang et al. 2019 (arXiv 1904.03441), algorithm 1, with S' of equation 4; groups of channels as in the
    authors' code (github.com/huangleiBuaa/IterNorm-pytorch), which halves a size that does not divide C: an error here.

    Args:
        num_channels: C, a multiple of `size` or smaller than it.
        size: Channels that are whitened together.
        iterations: Newton's iterations T. Their rounding errors grow once they have converged: keep to ten or so.
        eps: Added to the diagonal.
        momentum: Weight of the newest batch in the running averages.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [3.0, -1.5], [-3.0, 1.5]])
        >>> y = IterNorm(2, iterations=9, eps=1e-12)(x).detach()
        >>> (y.T @ y / 4).round(decimals=4).abs()  # uncorrelated, of variance one
        tensor([[1., 0.],
                [0., 1.]])
    """

    running_mean: Tensor
    running_whitening: Tensor

    def __init__(
        self,
        num_channels: int,
        size: Count = 64,
        iterations: Count = 5,
        eps: Positive = 1e-5,
        momentum: Momentum = 0.1,
    ) -> None:
        super().__init__()
        size = min(size, num_channels)
        if num_channels % size:
            raise UsageError(
                f"model.norm_options.size={size} does not divide {num_channels} channels: choose a divisor, or at "
                f"least {num_channels}"
            )
        self.num_channels, self.size, self.iterations = num_channels, size, iterations
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_whitening", torch.eye(size).repeat(num_channels // size, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.num_channels}, size={self.size}, iterations={self.iterations}, eps={self.eps}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        # (C / size, size, values of a channel), with the channels of a group together.
        rows = wide(x).transpose(0, 1).reshape(self.num_channels // self.size, self.size, -1)
        if self.training:
            check_values(x, rows.shape[2])
            mean = rows.mean(2, keepdim=True)
            centred = rows - mean
            whitening = self._whitening(centred)
            with torch.no_grad():
                self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), self.momentum)
                self.running_whitening.lerp_(whitening.to(self.running_whitening.dtype), self.momentum)
        else:
            centred = rows - self.running_mean.to(rows.dtype).view(-1, self.size, 1)
            whitening = self.running_whitening.to(rows.dtype)
        y = (whitening @ centred).reshape(self.num_channels, len(x), *x.shape[2:]).transpose(0, 1)
        y = (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def _whitening(self, centred: Tensor) -> Tensor:
        """(C / size, size, size) of centred values (C / size, size, m)."""
        with torch.autocast(centred.device.type, enabled=False):
            eye = torch.eye(self.size, dtype=centred.dtype, device=centred.device)
            covariance = centred @ centred.mT / centred.shape[2] + self.eps * eye
            trace = covariance.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
            scaled, found = covariance / trace, eye.expand_as(covariance)
            for _ in range(self.iterations):
                found = 1.5 * found - 0.5 * (found @ found @ found) @ scaled
            return found * torch.rsqrt(trace)
