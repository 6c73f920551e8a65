"""Two real processes: the statistics of `sync_batch` are those of `batch` on both batches together."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from normbench.errors import UsageError
from normbench.norms import build_norm
from tests.norms.cases import build, images

CASES: list[tuple[str, dict[str, Any]]] = [
    (layout, {"momentum": momentum}) for layout in ("vector", "tokens", "image") for momentum in (0.3, None)
]


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = []
    for layout, options in CASES:
        layer = build("sync_batch", options).double()
        for step in range(3):
            x = images(layout, step, dtype=torch.float64).chunk(2)[rank].clone().requires_grad_()
            weights = images(layout, 50 + step, dtype=torch.float64).chunk(2)[rank]
            layer.zero_grad()
            y = layer(x)
            (y * weights).sum().backward()
        half = build_norm("sync_batch", 8)(images(layout, dtype=torch.bfloat16).chunk(2)[rank]).detach()
        results.append(
            {
                "y": y.detach(),
                "x": x.grad,
                "weight": layer.weight.grad,
                "bias": layer.bias.grad,
                "mean": layer.running_mean,
                "var": layer.running_var,
                "eval": layer.eval()(x).detach(),
                "batches": layer.num_batches_tracked,
                "half": half,
            }
        )
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _grouped(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=4)
    layer = build("sync_batch", {"group_size": 2}).double()
    x = images("image", dtype=torch.float64).chunk(4)[rank].clone().requires_grad_()
    y = layer(x)
    (y * images("image", 50, dtype=torch.float64).chunk(4)[rank]).sum().backward()
    with pytest.raises(UsageError, match="group_size=3 does not divide 4 devices: choose one of 1, 2, 4"):
        build("sync_batch", {"group_size": 3})(images("image"))
    found = {"y": y.detach(), "x": x.grad, "weight": layer.weight.grad, "mean": layer.running_mean}
    torch.save({**found, "var": layer.running_var}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_groups_of_processes_are_groups_of_virtual_devices(tmp_path: Path) -> None:
    mp.spawn(_grouped, args=(str(tmp_path),), nprocs=4)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(4)]
    layer = build("sync_batch", {"group_size": 2, "virtual_devices": 4}).double()
    x = images("image", dtype=torch.float64).requires_grad_()
    y = layer(x)
    (y * images("image", 50, dtype=torch.float64)).sum().backward()
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([rank["y"] for rank in ranks]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([rank["x"] for rank in ranks]), x.grad, **close)
    torch.testing.assert_close(sum(rank["weight"] for rank in ranks), layer.weight.grad, **close)
    for key, value in (("mean", layer.running_mean), ("var", layer.running_var)):
        torch.testing.assert_close(ranks[0][key], value, **close)  # evaluation takes those of rank 0
        torch.testing.assert_close(ranks[1][key], value, **close)
        assert not torch.allclose(ranks[2][key], value)
    halves = [build("batch", {}).double()(half) for half in x.detach().chunk(2)]
    torch.testing.assert_close(y.detach(), torch.cat(halves).detach(), **close)


@pytest.mark.slow
def test_two_processes_of_sync_batch_are_one_of_batch(tmp_path: Path) -> None:
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    close = {"rtol": 1e-10, "atol": 1e-10}
    for (layout, options), one, other in zip(CASES, *ranks, strict=True):
        layer = build("batch", options).double()
        for step in range(3):
            x = images(layout, step, dtype=torch.float64).requires_grad_()
            layer.zero_grad()
            y = layer(x)
            (y * images(layout, 50 + step, dtype=torch.float64)).sum().backward()
        torch.testing.assert_close(torch.cat([one["y"], other["y"]]), y, **close)
        torch.testing.assert_close(torch.cat([one["x"], other["x"]]), x.grad, **close)
        torch.testing.assert_close(one["weight"] + other["weight"], layer.weight.grad, **close)
        torch.testing.assert_close(one["bias"] + other["bias"], layer.bias.grad, **close)
        torch.testing.assert_close(torch.cat([one["eval"], other["eval"]]), layer.eval()(x).detach(), **close)
        for rank in (one, other):
            torch.testing.assert_close(rank["mean"], layer.running_mean, **close)
            torch.testing.assert_close(rank["var"], layer.running_var, **close)
            assert rank["batches"] == 3
        half = build_norm("batch", 8)(images(layout, dtype=torch.bfloat16))
        assert one["half"].dtype == torch.bfloat16
        torch.testing.assert_close(torch.cat([one["half"], other["half"]]), half, rtol=2**-7, atol=2**-7)
