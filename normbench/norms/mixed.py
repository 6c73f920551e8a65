"""Norms that mix the statistics of several others, with trained weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.norms.registry import register_norm
from normbench.norms.running import RunningNorm, check_values, position_axes, spread, wide
from normbench.spec.values import Momentum, NonNegative, Positive


@register_norm("switchable", axes="(N, C, H, W)", scope="device", same_in_eval=False, cancels_bias=False)
class SwitchableNorm(RunningNorm):
    """Switchable normalization: a trained mixture of the statistics of instance, layer and batch norm.

    y = gamma[c] (x - mean) / sqrt(var + eps) + beta[c], where mean = sum_k softmax(mean_weight)[k] mean_k and var
    likewise with var_weight, k over instance (H, W), layer (C, H, W) and batch (N, H, W). As in the authors' code the
    instance variance is the unbiased one, and the other two follow from it: var_layer is the mean over C of
    var_instance + mean_instance^2, less mean_layer^2, and var_batch the same over N. Where a channel has one position
    there is no instance variance: then layer (C) and batch (N) are mixed alone, each with its unbiased variance, as
    in the code for vectors. Evaluation takes running averages for those of the batch, which start at 0 and 1.
    Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta: (C,); mean_weight, var_weight: (3,), at first one.

    Source: Luo et al. 2018 (arXiv 1806.10779), section 2.2, equations 3 to 5; the authors' switchable_norm.py
    (github.com/switchablenorms/Switchable-Normalization), whose running variance starts at 0, and whose momentum null
    averages the second moments of batches, not their variances.

    Args:
        num_channels: C.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.

    Example:
        >>> import torch
        >>> norm = SwitchableNorm(2, eps=0)
        >>> norm(torch.tensor([[0.0, 4.0], [4.0, 8.0]])).detach()  # layer means 2, 6, batch means 2, 6; variances 8
        tensor([[-0.7071,  0.0000],
                [ 0.0000,  0.7071]])
    """

    def __init__(self, num_channels: int, eps: NonNegative = 1e-5, momentum: Momentum | None = 0.1) -> None:
        super().__init__(num_channels, eps, momentum)
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))

    def reset_parameters(self) -> None:
        """The mixture of equal parts, and as `batch`."""
        super().reset_parameters()
        nn.init.ones_(self.mean_weight)
        nn.init.ones_(self.var_weight)

    def _train(self, x: Tensor) -> Tensor:
        return self._mixed(x)

    def _evaluate(self, x: Tensor) -> Tensor:
        return self._mixed(x)

    def _mixed(self, x: Tensor) -> Tensor:
        y = wide(x)
        means, variances = self._statistics(y)
        first = 3 - len(means)  # without instance norm where there is one position
        mean = sum(w * m for w, m in zip(self.mean_weight[first:].softmax(0), means, strict=True))
        var = sum(w * v for w, v in zip(self.var_weight[first:].softmax(0), variances, strict=True))
        y = (y - mean) * torch.rsqrt(var + self.eps)
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Means and variances of instance (where there is one), layer and batch."""
        if x[0, 0].numel() == 1:
            check_values(x, x.shape[1])
            layer_var, layer_mean = torch.var_mean(x, 1, keepdim=True)
            if self.training:
                check_values(x, len(x))
                batch_var, batch_mean = torch.var_mean(x, 0, keepdim=True)
            means, variances = [layer_mean], [layer_var]
        else:
            var, mean = torch.var_mean(x, position_axes(x), keepdim=True)
            # The mean of var + mean^2 less the square of the mean, without the difference of two large numbers.
            layer_of_means, layer_mean = torch.var_mean(mean, 1, correction=0, keepdim=True)
            batch_of_means, batch_mean = torch.var_mean(mean, 0, correction=0, keepdim=True)
            means, variances = [mean, layer_mean], [var, var.mean(1, keepdim=True) + layer_of_means]
            batch_var = var.mean(0, keepdim=True) + batch_of_means
        if self.training:
            self._move(batch_mean.flatten(), batch_var.flatten())
        else:
            batch_mean, batch_var = spread(self.running_mean, x), spread(self.running_var, x)
        return [*means, batch_mean], [*variances, batch_var]


@register_norm("batch_instance", axes="(N, H, W)", scope="device", same_in_eval=False, cancels_bias=True)
class BatchInstanceNorm(RunningNorm):
    """Batch-instance normalization: for each channel a trained gate between batch norm and instance norm.

    y = gamma[c] (rho[c] x_batch + (1 - rho[c]) x_instance) + beta[c], each part standardised with its biased variance.
    The gate rho starts at one and is clipped to [0, 1] after each optimizer step. Evaluation takes running averages,
    as `batch`, in the batch part. Input (N, C, L) or (N, C, H, W) with at least two positions.
    gamma, beta, gate: (C,). The gate trains at ten times the learning rate, as in the authors' code.

    Source: Nam & Kim 2018 (arXiv 1805.07925); github.com/hyeonseobnam/Batch-Instance-Normalization.

    Args:
        num_channels: C.
        eps: Added to the variances.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.

    Example:
        >>> import torch
        >>> norm, x = BatchInstanceNorm(1, eps=1e-12), torch.tensor([[[0.0, 2.0]], [[8.0, 10.0]]])
        >>> norm(x).detach().flatten()  # batch norm: mean 5, variance 17
        tensor([-1.2127, -0.7276,  0.7276,  1.2127])
        >>> norm.gate.data.fill_(0.0)
        tensor([0.])
        >>> norm(x).detach().flatten()  # instance norm
        tensor([-1.,  1., -1.,  1.])
    """

    def __init__(self, num_channels: int, eps: Positive = 1e-5, momentum: Momentum | None = 0.1) -> None:
        super().__init__(num_channels, eps, momentum)
        self.gate = nn.Parameter(torch.ones(num_channels))
        self.rate_factors = {"gate": 10.0}

    def reset_parameters(self) -> None:
        """Open gates, and as `batch`."""
        super().reset_parameters()
        nn.init.ones_(self.gate)

    def set_step(self, step: int, total: int) -> None:
        """Clips the gate after the step before; evaluation clips what the last step left."""
        with torch.no_grad():
            self.gate.clamp_(0, 1)

    def _train(self, x: Tensor) -> Tensor:
        return self._mixed(x, *self._measured(x))

    def _evaluate(self, x: Tensor) -> Tensor:
        return self._mixed(x, self.running_mean, self.running_var)

    def _mixed(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        check_values(x, x[0, 0].numel())
        y = wide(x)
        own_var, own_mean = torch.var_mean(y, position_axes(x), correction=0, keepdim=True)
        across = (y - spread(mean, x)) * spread(torch.rsqrt(var + self.eps), x)
        within = (y - own_mean) * torch.rsqrt(own_var + self.eps)
        # Training has it clipped by `set_step`: a clamp has no gradient at its bounds (torch 2.14), where gates start.
        gate = spread(self.gate if self.training else self.gate.clamp(0, 1), x)
        y = gate * across + (1 - gate) * within
        return (y * spread(self.weight, x) + spread(self.bias, x)).to(x.dtype)
