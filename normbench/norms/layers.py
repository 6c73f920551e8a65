"""Norm layers that torch does not have in the form a study needs."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


class InstanceNorm(nn.GroupNorm):
    """Instance norm as group norm with one channel a group: the same numbers, but native NHWC kernels.

    torch.nn.InstanceNorm2d converts channels_last inputs to NCHW and back, which would charge this norm alone
    for two copies. Input (N, C, H, W) with at least two positions.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        if x[0, 0].numel() < 2:
            raise ValueError(f"instance norm needs more than one position a channel, got an input of {tuple(x.shape)}")
        return super().forward(x)


class _BatchNorm(nn.BatchNorm2d):
    """Batch norm for (N, C, H, W) and (N, C) alike."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (torch's own name)
        if input.dim() not in (2, 4):
            raise ValueError(f"expected an input (N, C, H, W) or (N, C), got {tuple(input.shape)}")

    def _move_running(self, mean: Tensor, biased_var: Tensor, count: float) -> None:
        """One step of the running averages; the variance kept is the unbiased one, as torch does."""
        with torch.no_grad():
            momentum = self.momentum if self.momentum is not None else 0.1
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_((biased_var * (count / (count - 1))).to(self.running_var.dtype), momentum)


class VirtualBatchNorm(_BatchNorm):
    """Per-device batch norm of `devices` data-parallel devices, computed on one.

    A batch (N, ...) is divided into `devices` consecutive parts, the ones that the devices would get; each is
    normalised with its own statistics. The running averages follow the first part alone: data parallelism
    keeps those of rank 0. N must be a multiple of `devices` in training.
    """

    def __init__(self, num_channels: int, devices: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_channels, eps=eps, momentum=momentum)
        self.devices = devices

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, devices={self.devices}"

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if not self.training:
            return super().forward(x)
        if len(x) % self.devices:
            raise ValueError(f"a batch of {len(x)} images cannot be divided among {self.devices} virtual devices")
        first, *others = x.chunk(self.devices)
        parts = [super().forward(first)]
        parts += [_normalised(part, self) for part in others]
        return torch.cat(parts)


class GhostBatchNorm(_BatchNorm):
    """Batch norm on consecutive parts of `size` images; each part moves the running averages in turn."""

    def __init__(self, num_channels: int, size: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_channels, eps=eps, momentum=momentum)
        self.size = size

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, size={self.size}"

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if not self.training or len(x) <= self.size:
            return super().forward(x)
        if len(x) % self.size:
            raise ValueError(f"a batch of {len(x)} images is not a multiple of the ghost size {self.size}")
        return torch.cat([super(GhostBatchNorm, self).forward(part) for part in x.split(self.size)])


def _normalised(x: Tensor, norm: _BatchNorm) -> Tensor:
    """Batch norm of `x` with its own statistics, leaving the running averages alone."""
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


class SyncBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, on CPU (gloo) as on GPUs.

    torch.nn.SyncBatchNorm refuses CPU tensors; there the sums of x and of squared deviations are all-reduced,
    and the gradient flows through both. With one process, or in evaluation, this is plain batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if not self.training or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        if x.is_cuda:
            return self._on_gpu(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        world = dist.get_world_size()
        count = x.numel() / x.shape[1] * world  # the global batch divides evenly among the processes
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        mean = _all_reduce(x.sum(axes)) / count
        centred = x - mean.view(shape)
        # Two passes: E[x^2] - E[x]^2 loses the small variances that small batches have.
        var = _all_reduce(centred.square().sum(axes)) / count
        self._move_running(mean, var, count)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return centred * scale.view(shape) + self.bias.view(shape)

    def _on_gpu(self, x: Tensor) -> Tensor:
        from torch.nn.modules._functions import SyncBatchNorm as Function

        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 0.1
        return Function.apply(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.eps,
            momentum,
            dist.group.WORLD,
            dist.get_world_size(),
        )


class _AllReduce(torch.autograd.Function):
    """Sum over processes whose gradient is summed over processes too: each output depends on each input."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _all_reduce(x: Tensor) -> Tensor:
    result: Tensor = _AllReduce.apply(x)
    return result
