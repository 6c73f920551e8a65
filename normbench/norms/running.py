"""What norms with running averages have in common: parameters, buffers, evaluation; and the arithmetic of all norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.errors import UsageError
from normbench.norms.facts import divisors
from normbench.spec.values import Momentum, Positive


def wide(x: Tensor) -> Tensor:
    """`x` in single precision where it has half: statistics are summed in single, as torch's own kernels do."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def spread(values: Tensor, x: Tensor) -> Tensor:
    """(C,) so that it spreads over (N, C, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def batch_axes(x: Tensor) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return tuple(axis for axis in range(x.dim()) if axis != 1)


def position_axes(x: Tensor) -> tuple[int, ...]:
    """The axes of positions: none for (N, C)."""
    return tuple(range(2, x.dim()))


def image_axes(x: Tensor) -> tuple[int, ...]:
    """All axes but that of the images."""
    return tuple(range(1, x.dim()))


def check_dimensions(x: Tensor) -> None:
    """Raises ValueError for an input that no norm takes."""
    if not 2 <= x.dim() <= 4:
        raise ValueError(f"expected an input (N, C), (N, C, L) or (N, C, H, W), got {tuple(x.shape)}")


def check_values(x: Tensor, values: float) -> None:
    """Raises ValueError where a statistic has one value: nothing of the input is left."""
    if values < 2:
        raise ValueError(f"expected more than one value for each mean, got an input of {tuple(x.shape)}")


def check_groups(groups: int, num_channels: int) -> None:
    """Raises UsageError where groups of channels would not be equal."""
    if num_channels % groups:
        raise UsageError(
            f"model.norm_options.groups={groups} does not divide {num_channels} channels: "
            f"choose one of {divisors(num_channels)}"
        )


class RunningNorm(nn.Module):
    """Parameters, running averages and evaluation of batch norm; state and half precision as in torch's."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, eps: Positive = 1e-5, momentum: Momentum | None = 0.1) -> None:
        super().__init__()
        self.num_channels, self.eps, self.momentum = num_channels, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    def reset_parameters(self) -> None:
        """Gamma one, beta zero, running averages of nothing."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, x: Tensor) -> Tensor:
        check_dimensions(x)
        return self._train(x) if self.training else self._evaluate(x)

    def _train(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _evaluate(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _newest(self) -> float:
        """Counts one more batch; its weight in the running averages (momentum null: the plain mean of all batches)."""
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _moving(self, x: Tensor) -> Tensor:
        """`x` with its own statistics, which move the running averages."""
        running = self.running_mean, self.running_var
        return F.batch_norm(x, *running, self.weight, self.bias, True, self._newest(), self.eps)

    def _standing(self, x: Tensor) -> Tensor:
        """`x` with its own statistics, leaving the running averages alone."""
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each channel over (N, H, W), which move the running averages."""
        count = x.numel() // x.shape[1]
        check_values(x, count)
        var, mean = torch.var_mean(wide(x), batch_axes(x), correction=0)
        self._move(mean, var * (count / (count - 1)))
        return mean, var

    def _move(self, mean: Tensor, unbiased: Tensor) -> None:
        """Moves the running averages towards a batch's mean and unbiased variance."""
        with torch.no_grad():
            newest = self._newest()
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), newest)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), newest)
