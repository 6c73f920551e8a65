"""A probe measures and changes nothing, whatever it does."""

import math
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from normbench.errors import UsageError
from normbench.probes import Measurement, Moment, Probe, digest, register_probe
from normbench.probes.layers import Layers
from normbench.spec import resolve
from normbench.spec.registry import PROBES
from normbench.spec.values import Count

from ..train.runs import Cut, curve, cut_at, folder_of, lasting, tiny, trained


class Nasty(Probe):
    """Does everything that a probe might do by mistake.

    Args:
        times: How many times.
        rows: Rows of the array.
    """

    def __init__(self, *, times: Count = 10, rows: Count = 2) -> None:
        super().__init__(times=times)
        self.rows = rows

    def measure(self, moment: Moment) -> Measurement:
        torch.manual_seed(moment.step)
        np.random.seed(moment.step)
        random.seed(moment.step)
        torch.set_grad_enabled(True)
        for module in moment.net.modules():
            module.register_forward_hook(lambda module, inputs, output: output * 2)
        for _ in range(3):
            moment.net(moment.images.normal_()).sum().backward()  # train mode: moves running statistics
        moment.net.eval()
        with torch.no_grad():
            for tensor in [*moment.net.parameters(), *moment.net.buffers()]:
                tensor.fill_(7)
        moment.net.requires_grad_(False)
        moment.net.half()
        moment.labels.zero_()
        return Measurement({"step": moment.step}, {"table": np.full((self.rows, 3), moment.step)})


@pytest.fixture
def nasty() -> Any:
    register_probe("nasty")(Nasty)
    yield "nasty"
    PROBES.remove("nasty")


RUNS: dict[str, dict[str, Any]] = {
    "batch": {"model.dropout": 0.5, "optimizer.name": "adam"},
    "accumulated": {"trainer.accumulate_grad_batches": 2, "trainer.gradient_clip_val": 0.1},
    "virtual": {"trainer.virtual_devices": 4, "trainer.precision": "bf16-mixed"},
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_nasty_probe_leaves_every_number_as_it_is(tmp_path: Path, nasty: str, changes: dict[str, Any]) -> None:
    plain = trained(tiny(**changes), tmp_path / "plain")
    config = tiny(**changes, **{"probes": {nasty: {"times": 24}, "layers": {"times": 5}}})
    result = trained(config, tmp_path / "probed")
    assert result["run_id"] == plain["run_id"], "a probe is no part of a run's identity"
    numbers = {key for key in lasting(plain) if key not in ("config", "probes")}
    assert {key: result[key] for key in numbers} == {key: plain[key] for key in numbers}
    folder = folder_of(config, tmp_path / "probed")
    rows = curve(folder)
    assert [row for row in rows if row["split"] != "probe"] == curve(folder_of(tiny(**changes), tmp_path / "plain"))
    found = [row["value"] for row in rows if row["metric"] == "nasty/step"]
    assert found == [str(step) for step in range(1, 25)]


def test_arrays_stand_beside_the_curves_and_are_cut_back(tmp_path: Path, nasty: str) -> None:
    changes = {"probes": {nasty: {"times": 5, "rows": 4}}, "budget.steps": 12, "trainer.checkpoints": 12}
    config = tiny(**changes)
    folder = folder_of(config, tmp_path / "whole")
    result = trained(config, tmp_path / "whole")
    with np.load(folder / "arrays" / "nasty.npz") as file:
        assert set(file.files) == {"step", "table"}
        assert file["step"].tolist() == [3, 5, 8, 10, 12]
        assert file["table"].shape == (5, 4, 3)
        assert file["table"][:, 0, 0].tolist() == [3, 5, 8, 10, 12]
    assert result["probes"] == {nasty: {"digest": digest(nasty), "options": {"times": 5, "rows": 4}, "measurements": 5}}
    for step in (1, 4, 6, 9, 12):
        root = tmp_path / f"cut at {step}"
        with pytest.raises(Cut):
            trained(config, root, cut_at(step))
        cut = folder_of(config, root)
        (cut / "arrays").mkdir(exist_ok=True)
        if step == 1:  # left over from an earlier attempt
            np.savez(cut / "arrays" / "nasty.npz", step=np.arange(1, 13), table=np.ones((12, 4, 3)) * 99)
        assert lasting(trained(config, root)) == lasting(result)
        assert curve(cut) == curve(folder)
        with np.load(cut / "arrays" / "nasty.npz") as one, np.load(folder / "arrays" / "nasty.npz") as two:
            assert all(np.array_equal(one[key], two[key]) for key in two.files)


class Witness(Probe):
    """Keeps what it is handed."""

    initial = True
    wants_before = True
    wants_held_out = True
    seen: ClassVar[list[Moment]] = []

    def measure(self, moment: Moment) -> Measurement:
        self.seen.append(moment)
        assert moment.samples is not None
        held_out, _ = moment.held_out(7)
        assert len(held_out) == 7
        assert torch.equal(held_out, moment.samples.held_out(20)[0][:7]), "the same ones, however many"
        pixels = moment.samples.pixels(held_out)
        assert 0 <= pixels.min() <= pixels.max() <= 1.0001
        torch.testing.assert_close(moment.samples.standardized(pixels), held_out)
        return Measurement(arrays={"sum": np.asarray(float(held_out.sum()))})


@pytest.fixture
def witness() -> Any:
    register_probe("witness")(Witness)
    Witness.seen.clear()
    yield "witness"
    PROBES.remove("witness")


@pytest.mark.parametrize("block", [1, 16])
def test_a_moment_has_the_last_batch_and_the_network_before_the_step(tmp_path: Path, witness: str, block: int) -> None:
    changes = {"trainer.steps_per_execution": block, "optimizer.lr": 0.25, "probes": {witness: {"times": 3}}}
    trained(tiny(**changes), tmp_path)
    first, *later = Witness.seen
    assert [moment.step for moment in Witness.seen] == [0, 8, 16, 24]
    assert all(len(moment.images) == len(moment.labels) == 32 for moment in Witness.seen)
    assert first.before is None
    assert math.isnan(first.lr)
    assert not first.previous
    for moment in later:
        assert moment.before is not None
        assert moment.lr == 0.25
        pairs = zip(moment.before.parameters(), moment.net.parameters(), strict=True)
        assert all(not torch.equal(old, new) for old, new in pairs if old.dim() > 1)
        counted = [dict(net.named_buffers())["block0.norm.num_batches_tracked"] for net in (moment.before, moment.net)]
        assert [int(count) for count in counted] == [moment.step - 1, moment.step]
        assert moment.previous["sum"] == pytest.approx(float(moment.held_out(7)[0].sum()))


def test_the_same_images_are_seen_whatever_the_seed_and_the_block(tmp_path: Path, witness: str) -> None:
    probes = {witness: {"at": [0, 24]}}
    for seed, block in ((0, 1), (1, 16)):
        trained(tiny(**{"seed": seed, "trainer.steps_per_execution": block, "probes": probes}), tmp_path / str(seed))
    one, last, other, _ = Witness.seen
    assert torch.equal(one.images, other.images), "before the first step the batch is a fixed one too"
    assert torch.equal(one.trained_on(50)[0], other.trained_on(50)[0])
    assert torch.equal(one.trained_on(50)[0], last.trained_on(50)[0])


def test_a_run_without_validation_images_is_refused_by_the_plan(witness: str) -> None:
    with pytest.raises(UsageError, match=r"probe 'witness' needs images .* data.validation"):
        resolve(tiny(**{"data.validation": 0, "trainer.validations": 0, "probes": {witness: {"at": [24]}}}))


def test_what_a_probe_refuses_the_plan_refuses() -> None:
    with pytest.raises(UsageError, match=r"probes.robustness.corruptions: .*did you mean 'noise'"):
        resolve(tiny(**{"probes": {"robustness": {"corruptions": ["nois"]}}}))


@pytest.mark.parametrize("at", ["25", "25, 100"])
def test_a_probe_that_would_never_measure_is_refused(at: str) -> None:
    steps = [int(step) for step in at.split(", ")]
    with pytest.raises(UsageError, match=rf"probes.layers.at=\[{at}\] is none of the steps .*: choose 1 to 24"):
        resolve(tiny(**{"budget.steps": 24, "probes": {"layers": {"at": steps}}}))
    assert resolve(tiny(**{"budget.steps": 25, "probes": {"layers": {"at": steps}}}))


def test_when_to_measure() -> None:
    assert Probe(times=3).schedule(10) == [4, 7, 10]
    assert Probe(at=[5, 0, 5, 11]).schedule(10) == [0, 5]
    assert Witness(times=2).schedule(10) == [0, 5, 10]


def test_layers_are_those_of_a_hand_written_pass(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    images, labels = torch.randn(5, 1, 2, 3), torch.tensor([0, 1, 2, 0, 1])
    found = Layers(times=1).measure(Moment(net, images, labels, 1, 1)).scalars
    assert set(found) == {f"{layer}/{what}" for layer in ("1", "3") for what in ("mean", "std", "gradient")}
    hidden = images.flatten(1) @ net[1].weight.T + net[1].bias  # type: ignore[operator, union-attr]
    assert found["1/mean"] == pytest.approx(hidden.mean().item(), abs=1e-6)
    assert found["1/std"] == pytest.approx(hidden.std(correction=0).item(), rel=1e-5)
    logits = hidden.relu() @ net[3].weight.T + net[3].bias  # type: ignore[operator, union-attr]
    # The gradient of the mean cross-entropy with respect to the logits is (softmax - onehot) / N.
    slope = (logits.softmax(-1) - F.one_hot(labels, 3)) / 5
    expected = ((slope.T @ hidden.relu()).square().sum() + slope.sum(0).square().sum()).sqrt()
    assert found["3/gradient"] == pytest.approx(expected.item(), rel=1e-5)


def test_every_layer_has_its_three_numbers(tmp_path: Path) -> None:
    config = tiny(**{"probes": {"layers": {"times": 3}}})
    trained(config, tmp_path)
    rows = [row for row in curve(folder_of(config, tmp_path)) if row["split"] == "probe"]
    assert sorted({int(row["step"]) for row in rows}) == [8, 16, 24]
    kinds = {row["metric"].rpartition("/")[2] for row in rows}
    assert kinds == {"mean", "std", "gradient"}
    assert all(row["metric"].startswith("layers/") for row in rows)


def test_what_is_no_probe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a subclass"):
        register_probe("strange")(dict)  # type: ignore[type-var]
    with pytest.raises(UsageError, match="names a file"):
        register_probe("a/b")

    @register_probe("numbers")
    class Numbers(Probe):
        def measure(self, moment: Moment) -> Any:
            return {"loss": 1.0}

    try:
        with pytest.raises(UsageError, match="has to return a Measurement"):
            trained(tiny(**{"probes": {"numbers": {}}}), tmp_path)
    finally:
        PROBES.remove("numbers")


def test_an_unknown_probe_or_option_is_named() -> None:
    from normbench.spec import resolve

    with pytest.raises(UsageError, match="did you mean 'layers'"):
        resolve(tiny(**{"probes": {"layer": {}}}))
    with pytest.raises(UsageError, match=r"times"):
        resolve(tiny(**{"probes": {"layers": {"times": 0}}}))
