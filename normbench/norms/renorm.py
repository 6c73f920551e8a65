"""Batch norms that change with the steps of a training: running statistics take the place of the batch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.norms.registry import register_norm
from normbench.norms.running import RunningNorm, batch_axes, check_dimensions, check_values, spread, wide
from normbench.spec.values import Factor, Momentum, NonNegative, Positive, Share


@register_norm("batch_renorm", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=True)
class BatchRenorm(nn.Module):
    """Batch renormalization: batch norm, drawn towards what the running averages would give.

    Training: y = gamma[c] ((x - mean[c]) / std[c] r[c] + d[c]) + beta[c] with std = sqrt(biased var + eps),
    r = clip(std / running_std, 1 / r_max, r_max) and d = clip((mean - running_mean) / running_std, -d_max, d_max),
    both constants to the gradient. Evaluation: y = gamma (x - running_mean) / running_std + beta. The averages follow
    the mean and the standard deviation (not the variance), r <- (1 - momentum) r + momentum s, after y was computed.

    r_max grows from 1, and d_max from 0, linearly with the steps: until `ramp_start` of the budget this is `batch`;
    they have their full values at `r_end` and `d_end`. The paper ramps from step 5,000 to 40,000 and 25,000, and takes
    momentum .01. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta, running mean and deviation: (C,).
    What is measured of a norm is measured at its first step. Later a bias before it moves d until the averages have
    followed, and still has no gradient.

    Source: Ioffe 2017 (arXiv 1702.03275), section 3, Algorithm 1; the bounds over the steps: section 4.

    Args:
        num_channels: C.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running averages.
        r_max: Largest r.
        d_max: Largest d.
        ramp_start: Share of the budget at which r_max and d_max begin to grow.
        r_end: Share of the budget at which r_max is reached.
        d_end: Share of the budget at which d_max is reached.

    Example:
        >>> import torch
        >>> norm, x = BatchRenorm(1, eps=0.0, r_max=3.0, d_max=5.0), torch.tensor([[2.0], [6.0]])
        >>> norm(x).detach().flatten()  # mean 4, deviation 2; before the ramp as batch
        tensor([-1.,  1.])
        >>> norm.reset_parameters(); norm.set_step(99, 100)
        >>> norm(x).detach().flatten()  # r = 2 and d = 4, to the averages 0 and 1
        tensor([2., 6.])
    """

    running_mean: Tensor
    running_std: Tensor

    def __init__(
        self,
        num_channels: int,
        eps: NonNegative = 1e-5,
        momentum: Momentum = 0.1,
        r_max: Factor = 3.0,
        d_max: NonNegative = 5.0,
        ramp_start: Share = 0.05,
        r_end: Share = 0.4,
        d_end: Share = 0.25,
    ) -> None:
        super().__init__()
        self.num_channels, self.eps, self.momentum = num_channels, eps, momentum
        self.full = (r_max, d_max)
        self.ramps = (ramp_start, r_end, d_end)
        self.r_max, self.d_max = 1.0, 0.0  # of this step
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_std", torch.ones(num_channels))

    def reset_parameters(self) -> None:
        """Gamma one, beta zero, running averages of nothing."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_std.fill_(1)

    def set_step(self, step: int, total: int) -> None:
        """Widens r and d by the share of the budget that is spent."""
        start, r_end, d_end = self.ramps
        self.r_max = 1 + (self.full[0] - 1) * _ramp(step / total, start, r_end)
        self.d_max = self.full[1] * _ramp(step / total, start, d_end)

    def extra_repr(self) -> str:
        return (
            f"{self.num_channels}, eps={self.eps}, momentum={self.momentum}, r_max={self.full[0]}, d_max={self.full[1]}"
        )

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        y = wide(x)
        if self.training:
            check_values(x, x.numel() // x.shape[1])
            var, mean = torch.var_mean(y, batch_axes(x), correction=0)
            std = torch.sqrt(var + self.eps)
            with torch.no_grad():
                r = (std / self.running_std).clamp(1 / self.r_max, self.r_max)
                d = ((mean - self.running_mean) / self.running_std).clamp(-self.d_max, self.d_max)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_std.lerp_(std.to(self.running_std.dtype), self.momentum)
            y = (y - spread(mean, x)) * spread(r / std, x) + spread(d, x)
        else:
            y = (y - spread(self.running_mean, x)) / spread(self.running_std, x)
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)


def _ramp(share: float, start: float, end: float) -> float:
    """0 until `start`, 1 from `end`, linear between."""
    if share >= end:
        return 1.0
    return max(0.0, (share - start) / (end - start)) if end > start else 0.0


@register_norm("frozen_batch", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=True)
class FrozenBatchNorm(RunningNorm):
    """Batch normalization whose running statistics are frozen, and used in training too, late in the budget.

    Until the step that begins `share` of the budget it is `batch`; from then on training computes what evaluation
    does, y = gamma (x - running_mean) / sqrt(running_var + eps) + beta, and the averages stand still. gamma and beta
    train on, unlike those of torchvision's FrozenBatchNorm2d. Shapes, parameters and state as `batch`.
    What is measured of a norm is measured at its first step, before it freezes.

    Source: fine-tuning with frozen statistics: Goyal et al. 2017 (arXiv 1706.02677), section 5.4; Wu &
    Johnson 2021 (arXiv 2105.07576), who freeze in mid-training; torchvision.ops.FrozenBatchNorm2d.

    Args:
        num_channels: C.
        share: Share of the budget after which the statistics are frozen.
        eps: Added to the variance; above zero, as torch's kernels demand.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.

    Example:
        >>> import torch
        >>> norm, x = FrozenBatchNorm(1, share=0.5, eps=1e-12), torch.tensor([[1.0], [3.0]])
        >>> norm.set_step(49, 100); norm(x).detach().flatten()
        tensor([-1.,  1.])
        >>> norm.reset_parameters(); norm.set_step(50, 100)
        >>> norm(x).detach().flatten()  # by the averages 0 and 1
        tensor([1., 3.])
    """

    def __init__(
        self, num_channels: int, share: Share = 0.5, eps: Positive = 1e-5, momentum: Momentum | None = 0.1
    ) -> None:
        super().__init__(num_channels, eps, momentum)
        self.share, self.frozen = share, False

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, share={self.share}"

    def set_step(self, step: int, total: int) -> None:
        """Freezes the statistics from `share` of the budget on."""
        self.frozen = step >= self.share * total

    def _train(self, x: Tensor) -> Tensor:
        return self._evaluate(x) if self.frozen else self._moving(x)
