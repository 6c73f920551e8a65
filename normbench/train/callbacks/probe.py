"""Lets probes measure without changing anything, and keeps what they found."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.models.dropout import SeededDropout
from normbench.norms.contract import set_step
from normbench.probes import Measurement, Moment, Probe, digest
from normbench.store.files import make_folder, replace_file, unwritable
from normbench.store.folder import ARRAYS
from normbench.store.measurements import SPLIT
from normbench.train.callbacks.curves import Curves
from normbench.train.callbacks.progress import Position, Schedule
from normbench.train.callbacks.samples import FixedSamples
from normbench.train.randomness import preserved_generators


class Probes:
    """The probes of a run.

    Each measures on a copy of the network, so that neither its buffers nor its mode, gradients, hooks or weights can
    change. A network that cannot be copied raises UsageError.

    Args:
        probes: The probes by name.
        folder: The run folder.
        position: Where the run stands.
        curves: Where scalars go.
        batch_size: Global batch size: of a block of several batches the last one is seen.
    """

    def __init__(
        self, probes: Mapping[str, Probe], folder: Path, position: Position, curves: Curves, batch_size: int
    ) -> None:
        self.probes, self.folder, self.position, self.curves = dict(probes), folder / ARRAYS, position, curves
        self.batch_size = batch_size
        steps = {name: [step for step in p.schedule(position.steps) if step >= 0] for name, p in self.probes.items()}
        self.schedules = {name: Schedule(sorted(set(found))) for name, found in steps.items()}
        self.schedule = Schedule(sorted({step for found in steps.values() for step in found}))
        # The network before a step is copied after the step before it, which a block of steps has to end with.
        wants = {step for name, found in steps.items() if self.probes[name].wants_before for step in found}
        self.copies = Schedule(sorted(step - 1 for step in wants if step >= 1))
        self._before: tuple[nn.Module, float] | None = None
        self._arrays: dict[str, dict[str, list[np.ndarray[Any, Any]]]] = {name: {} for name in self.probes}

    def open(self) -> None:
        """Cuts arrays/PROBE.npz back to the step where a resumed run goes on, or away."""
        for name in self.probes:
            path = self._path(name)
            self._arrays[name] = {}
            if not path.exists():
                continue
            try:
                with np.load(path, allow_pickle=False) as file:
                    kept = {key: file[key][file["step"] <= self.position.step] for key in file.files}
            except (OSError, ValueError, KeyError, EOFError):
                kept = {}
            if self.position.step and len(kept.get("step", ())):
                self._arrays[name] = {key: list(values) for key, values in kept.items()}
                self._write(name)
            else:
                path.unlink()

    def copy(self, trainer: pl.Trainer, net: nn.Module) -> None:
        """Keeps the network as it is before the step that comes next, for the probes that want it."""
        if self.position.step in self.copies:
            rate = float(trainer.optimizers[0].param_groups[0]["lr"])
            self._before = (self._copied(net, next(p for p in self.probes if self.probes[p].wants_before)), rate)

    def measure(self, trainer: pl.Trainer, net: nn.Module, batch: tuple[Tensor, Tensor] | None = None) -> None:
        """Lets those measure whose turn it is, after a step on `batch`, or before the first. The clock stands still."""
        for name, probe in self.probes.items():
            if self.position.step not in self.schedules[name]:
                continue
            with preserved_generators(), torch.enable_grad(), trainer.precision_plugin.forward_context():
                found = probe.measure(self._moment(trainer, name, net, batch))
            if not isinstance(found, Measurement):
                raise UsageError(
                    f"probe '{name}' returns {type(found).__name__}: measure() has to return a Measurement"
                )
            if trainer.is_global_zero:
                self._keep(name, found)
        self._before = None

    def _moment(self, trainer: Any, name: str, net: nn.Module, batch: tuple[Tensor, Tensor] | None) -> Moment:
        own = self._copied(net, name).train()
        own.zero_grad(set_to_none=True)
        like = next(net.parameters(), torch.empty(0))
        samples = FixedSamples(trainer.datamodule, like.detach(), name)
        if batch is None:
            images, labels = samples.train(self.batch_size // trainer.world_size // trainer.accumulate_grad_batches)
        else:
            images, labels = (part[-self.batch_size :].detach().clone() for part in batch)
        before, rate = None, math.nan
        if self.probes[name].wants_before and self._before is not None:
            before, rate = copy.deepcopy(self._before[0]).train(), self._before[1]
            before.zero_grad(set_to_none=True)
            set_step(before, self.position.step - 1, self.position.steps)
            for one, other in zip(before.modules(), own.modules(), strict=True):
                if isinstance(one, SeededDropout) and isinstance(other, SeededDropout):
                    one.rows = other.rows  # the mask of the step
        previous = {key: values[-1].copy() for key, values in self._arrays[name].items() if key != "step"}
        position = self.position
        seed = trainer.lightning_module.seed
        return Moment(own, images, labels, position.step, position.steps, samples, before, rate, previous, seed)

    def _copied(self, net: nn.Module, name: str) -> nn.Module:
        try:
            return copy.deepcopy(net)
        except Exception as error:
            raise UsageError(
                f"probe '{name}': the network cannot be copied ({error}): train it without probes"
            ) from None

    def _keep(self, name: str, found: Measurement) -> None:
        self.curves.add(SPLIT, {f"{name}/{key}": value for key, value in found.scalars.items()})
        if not found.arrays:
            return
        kept = self._arrays[name]
        for key, values in {"step": np.asarray(self.position.step), **found.arrays}.items():
            kept.setdefault(key, []).append(np.asarray(values))
        self._write(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def _write(self, name: str) -> None:
        path, kept = self._path(name), self._arrays[name]
        try:
            stacked = {key: np.stack(values) for key, values in kept.items()}
        except ValueError as error:
            raise UsageError(f"probe '{name}' returns arrays of another shape than before: {error}") from None

        def write(fresh: Path) -> None:
            with fresh.open("wb") as file:
                np.savez(file, **stacked)  # type: ignore[arg-type]  # its stubs take the names for options

        try:
            make_folder(self.folder)
            replace_file(path, write)
        except OSError as error:
            raise unwritable(path, error) from None

    def result(self, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What a result records: digest, options and number of measurements of each probe."""
        done = self.position.step
        return {
            name: {
                "digest": digest(name),
                "options": dict(options.get(name, {})),
                "measurements": sum(step <= done for step in self.schedules[name].steps),
            }
            for name in self.probes
        }
