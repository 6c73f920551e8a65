"""Real processes: what every norm computes in two of them, and `sync_batch` over groups of devices."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from normbench.errors import UsageError
from normbench.norms import NORMS, build_norm
from normbench.norms.measure import measure
from normbench.norms.ranks import computed, part_of
from normbench.norms.trial import Trial
from tests.norms.cases import build, images

CASES: list[tuple[str, dict[str, Any]]] = [
    (layout, {"momentum": momentum}) for layout in ("vector", "tokens", "image") for momentum in (0.3, None)
]
# Each device has statistics of its own; those of the others are of each image, or of all devices together.
OF_EACH_DEVICE = {
    *("batch", "ghost", "batch_renorm", "frozen_batch", "switchable", "batch_instance", "iter_norm", "online_norm"),
    *("simple", "detached_batch", "evonorm_b0"),
}


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


# Every norm of the registry, in one pair of processes.

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
Found = dict[str, torch.Tensor]
Ranks = tuple[list[dict[tuple[str, str], tuple[Found, Found]]], dict[str, Trial]]


def _trials() -> dict[str, Trial]:
    """Each norm as it is tried, with its default options."""
    found = {}
    for name in NORMS:
        entry = NORMS.get(name)
        options = entry.chosen({}, "")
        found[name] = Trial(entry, options, measure(entry, options))
    return found


def _all_norms(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    trials = _trials()
    nets = {(name, layout): one.net(layout) for name, one in trials.items() for layout in one.layouts}
    first = trials["weight_norm"]
    nets |= {("first batch", layout): first.fresh(layout) for layout in first.layouts}
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {
        (name, layout): (computed(net, *part_of(trials.get(name, first), layout, rank)), net.state_dict())
        for (name, layout), net in nets.items()
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """What both processes found, by norm and layout: outputs, gradients and buffers of a step, and the state."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_all_norms, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)], _trials()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NORMS))
def test_two_processes_compute_what_the_norm_says(name: str, two_ranks: Ranks) -> None:
    """What one process does with all images, or each what one does with its half: as it says whose statistics are."""
    trial = two_ranks[1][name]
    together = trial.facts.devices or trial.facts.images.rule == "one"  # of all devices, or of each image
    assert together == (name not in OF_EACH_DEVICE)
    for layout in trial.layouts:
        given: list[Found] = [rank[name, layout][0] for rank in two_ranks[0]]
        parts = [None] if together else [0, 1]
        right: list[Found] = [computed(trial.net(layout), *part_of(trial, layout, part)) for part in parts]
        for key, wanted in right[0].items():
            told = f"{key} ({layout})"
            if key in ("output", "gradient of the input"):
                both = torch.cat([one[key] for one in given])
                torch.testing.assert_close(both, torch.cat([one[key] for one in right]), **CLOSE, msg=told)
            elif key.startswith("gradient of"):  # the average over processes, each of which has a sum for its loss
                mean = sum(one[key] for one in right) / 2
                for one in given:
                    torch.testing.assert_close(one[key], mean, **CLOSE, msg=told)
            else:  # running averages: evaluation takes those of the first process
                torch.testing.assert_close(given[0][key], wanted, **CLOSE, msg=told)


def test_the_norms_of_each_device_are_registered() -> None:
    assert set(NORMS) >= OF_EACH_DEVICE


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["image", "vector"])
def test_the_first_batch_of_weight_norm_is_that_of_both_processes(layout: str, two_ranks: Ranks) -> None:
    """Lengths and biases are set from all images together, so that both processes start alike."""
    trial = two_ranks[1]["weight_norm"]
    net = trial.fresh(layout)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    right = computed(net, *part_of(trial, layout, None))
    given = [rank["first batch", layout] for rank in two_ranks[0]]
    torch.testing.assert_close(torch.cat([found["output"] for found, _ in given]), right["output"], **CLOSE)
    for key, value in net.state_dict().items():
        moved = not key.endswith("original1")  # the direction stays
        assert torch.equal(value, before[key]) != moved, key
        for _, state in given:
            torch.testing.assert_close(state[key], value, **CLOSE, msg=key)
