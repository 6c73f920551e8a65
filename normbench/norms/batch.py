"""Norms whose statistics are shared by several images: one formula, over the images of a device, of a part, of all.

None of them is one of torch's `_BatchNorm`: `torch.nn.SyncBatchNorm.convert_sync_batchnorm` leaves them as they are
(it would replace a ghost or virtual norm by another one), and so does Lightning's `sync_batchnorm=True`. For
statistics over all devices there is `sync_batch`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

import torch
import torch.distributed as dist
from torch import Tensor

from normbench.errors import UsageError
from normbench.norms.facts import divisors
from normbench.norms.registry import register_norm
from normbench.norms.running import RunningNorm, batch_axes, spread, wide
from normbench.spec.marks import LeftOutAt
from normbench.spec.values import Count, Momentum, Positive

CLAIMS = {"same_in_eval": False, "cancels_bias": True}


@register_norm("batch", axes="(N, H, W)", scope="device", **CLAIMS)
class BatchNorm(RunningNorm):
    """Batch normalization over (N, H, W), for each channel.

    y[n, c] = gamma[c] (x[n, c] - mean[c]) / sqrt(var[c] + eps) + beta[c]. Training takes mean and biased variance from
    the images that one device holds; evaluation takes running averages, r <- (1 - momentum) r + momentum s, in which
    s of the variance is the unbiased one. Input (N, C), (N, C, L) or (N, C, H, W). gamma, beta, running mean and
    variance: (C,).

    With `virtual_devices` a batch is divided into so many consecutive parts, those that the devices would get, each
    with its own statistics. The running averages follow the first part alone: data parallelism keeps those of rank 0.

    Source: Ioffe & Szegedy 2015 (arXiv 1502.03167), Algorithms 1 and 2.

    Args:
        num_channels: C.
        eps: Added to the variance; above zero, as torch's kernels demand.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.
        virtual_devices: Compute as so many data-parallel devices would; in training they divide N.

    Example:
        >>> import torch
        >>> BatchNorm(2, eps=1e-12)(torch.tensor([[1.0, 50.0], [3.0, 10.0]])).detach()
        tensor([[-1.,  1.],
                [ 1., -1.]])
    """

    def __init__(
        self,
        num_channels: int,
        eps: Positive = 1e-5,
        momentum: Momentum | None = 0.1,
        virtual_devices: Count = 1,
    ) -> None:
        super().__init__(num_channels, eps, momentum)
        self.virtual_devices = virtual_devices

    def extra_repr(self) -> str:
        virtual = f", virtual_devices={self.virtual_devices}" if self.virtual_devices > 1 else ""
        return super().extra_repr() + virtual

    def _train(self, x: Tensor) -> Tensor:
        return _in_parts(self, x, self.virtual_devices)


@register_norm("ghost", axes="(N of a part, H, W)", scope="device", **CLAIMS)
class GhostBatchNorm(RunningNorm):
    """Ghost batch normalization: batch norm on consecutive parts of `size` images, each with its own statistics.

    Formula, shapes and parameters as `batch`; every part moves the running averages, one after the other.
    The batch of a device must be a multiple of `size`, or smaller than it.

    Source: Hoffer et al. 2017 (arXiv 1705.08741), Algorithm 1.

    Args:
        num_channels: C.
        size: Images of a part.
        eps: Added to the variance; above zero, as torch's kernels demand.
        momentum: Weight of the newest part in the running averages; null weighs all parts alike.

    Example:
        >>> import torch
        >>> GhostBatchNorm(1, size=2, eps=1e-12)(torch.tensor([[1.0], [3.0], [50.0], [10.0]])).detach().flatten()
        tensor([-1.,  1.,  1., -1.])
    """

    def __init__(
        self, num_channels: int, size: Count = 16, eps: Positive = 1e-5, momentum: Momentum | None = 0.1
    ) -> None:
        super().__init__(num_channels, eps, momentum)
        self.size = size

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, size={self.size}"

    def _train(self, x: Tensor) -> Tensor:
        if len(x) <= self.size:
            return self._moving(x)
        if len(x) % self.size:
            raise ValueError(f"a batch of {len(x)} images is not a multiple of the ghost size {self.size}")
        return torch.cat([self._moving(part) for part in x.split(self.size)])


@register_norm("sync_batch", axes="(N, H, W), all devices", scope="global", **CLAIMS)
class SyncBatchNorm(RunningNorm):
    """Batch normalization with statistics over the batches of all devices together, or of groups of devices.

    Formula, shapes, parameters and running averages as `batch`. On GPUs this is torch's SyncBatchNorm; on CPU
    processes, which that one refuses, the sums of x and of its squared deviations go through an all-reduce, and the
    gradient through both. Where nothing is distributed, and in evaluation, it is `batch`. Every device must hold
    equally many images.

    With `group_size` devices 0 to group_size - 1 share statistics, the next as many likewise, and so on (apex's
    group_size, flax's axis_index_groups). Virtual devices are grouped as real ones are; the running averages follow
    the first group.

    Source: Peng et al. 2018, MegDet (arXiv 1711.07240), section 3.3, Algorithm 1; torch.nn.SyncBatchNorm.

    Args:
        num_channels: C.
        eps: Added to the variance; above zero, as torch's kernels demand.
        momentum: Weight of the newest batch in the running averages; null weighs all batches alike.
        group_size: Devices of a group, a divisor of their number; null takes all of them.
        virtual_devices: Compute as so many data-parallel devices would; in training they divide N.

    Example:
        >>> import torch
        >>> SyncBatchNorm(2, eps=1e-12)(torch.tensor([[1.0, 50.0], [3.0, 10.0]])).detach()
        tensor([[-1.,  1.],
                [ 1., -1.]])
        >>> norm = SyncBatchNorm(1, eps=1e-12, group_size=2, virtual_devices=4)
        >>> norm(torch.tensor([[1.0], [3.0], [50.0], [10.0]])).detach().flatten()
        tensor([-1.,  1.,  1., -1.])
    """

    def __init__(
        self,
        num_channels: int,
        eps: Positive = 1e-5,
        momentum: Momentum | None = 0.1,
        group_size: Annotated[Count | None, LeftOutAt(None)] = None,
        virtual_devices: Count = 1,
    ) -> None:
        super().__init__(num_channels, eps, momentum)
        self.group_size, self.virtual_devices = group_size, virtual_devices

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", group_size={self.group_size}" if self.group_size else "")

    def _train(self, x: Tensor) -> Tensor:
        world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if world == 1:
            groups = max(1, self.virtual_devices // (self.group_size or self.virtual_devices))
            return _in_parts(self, x, groups)
        size = self.group_size or world
        if world % size:
            raise UsageError(
                f"model.norm_options.group_size={size} does not divide {world} devices: choose one of {divisors(world)}"
            )
        if size == 1:
            return self._moving(x)
        group = dist.group.WORLD if size == world else _groups(dist.group.WORLD, size)[dist.get_rank() // size]
        return self._on_gpu(x, group, size) if x.is_cuda else self._on_cpu(x, group, size)

    def _on_cpu(self, x: Tensor, group: Any, size: int) -> Tensor:
        values, axes = wide(x), batch_axes(x)
        count = x.numel() / x.shape[1] * size
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        mean = _all_reduce(values.sum(axes), group) / count
        centred = values - spread(mean, x)
        # Two passes: E[x^2] - E[x]^2 loses the small variances that small batches have.
        var = _all_reduce(centred.square().sum(axes), group) / count
        self._move(mean, var * (count / (count - 1)))
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (centred * spread(scale, x) + spread(self.bias, x)).to(x.dtype)

    def _on_gpu(self, x: Tensor, group: Any, size: int) -> Tensor:
        from torch.nn.modules._functions import SyncBatchNorm as Function

        running = self.running_mean, self.running_var
        y: Tensor = Function.apply(x, self.weight, self.bias, *running, self.eps, self._newest(), group, size)
        return y


@lru_cache(maxsize=2)
def _groups(world: Any, size: int) -> list[Any]:
    """Groups of `size` processes of a world, made when they are first needed: by all processes at once, as they must.

    Args:
        world: All processes; part of the key, since a worker connects anew for each run.
        size: Processes of a group.
    """
    return [dist.new_group(list(range(first, first + size))) for first in range(0, world.size(), size)]


class _AllReduce(torch.autograd.Function):
    """Sum over processes whose gradient is summed over processes too: each output depends on each input.

    torch.distributed.nn.functional.all_reduce does the same, but torch 2.14 withdraws it in favour of a private module.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        total = grads[0].clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def _all_reduce(x: Tensor, group: Any) -> Tensor:
    result: Tensor = _AllReduce.apply(x, group)
    return result


def _in_parts(norm: RunningNorm, x: Tensor, parts: int) -> Tensor:
    """`x` in consecutive parts with statistics of their own, as devices have them; the first moves the averages."""
    if parts == 1:
        return norm._moving(x)
    if len(x) % parts:
        raise ValueError(f"a batch of {len(x)} images cannot be divided among {parts} devices")
    first, *others = x.chunk(parts)
    return torch.cat([norm._moving(first), *map(norm._standing, others)])
