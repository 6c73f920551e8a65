"""Lets probes measure without changing anything, and keeps what they found."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.probes import Measurement, Moment, Probe, digest
from normbench.store.files import make_folder, replace_file, unwritable
from normbench.store.folder import ARRAYS
from normbench.train.callbacks.curves import Curves
from normbench.train.callbacks.progress import Position, Schedule
from normbench.train.randomness import preserved_generators

SPLIT = "probe"  # in metrics.csv


class Probes:
    """The probes of a run.

    Each measures on a copy of the network, so that neither its buffers nor its mode, gradients, hooks or weights can
    change. A network that cannot be copied raises UsageError.

    Args:
        probes: The probes by name.
        folder: The run folder.
        position: Where the run stands.
        curves: Where scalars go.
    """

    def __init__(self, probes: Mapping[str, Probe], folder: Path, position: Position, curves: Curves) -> None:
        self.probes, self.folder, self.position, self.curves = dict(probes), folder / ARRAYS, position, curves
        steps = {name: [step for step in p.schedule(position.steps) if step >= 1] for name, p in self.probes.items()}
        self.schedules = {name: Schedule(sorted(set(found))) for name, found in steps.items()}
        self.schedule = Schedule(sorted({step for found in steps.values() for step in found}))
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

    def measure(self, trainer: pl.Trainer, net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        """Lets those measure whose turn it is. The clock has to stand still."""
        for name, probe in self.probes.items():
            if self.position.step not in self.schedules[name]:
                continue
            with preserved_generators(), torch.enable_grad(), trainer.precision_plugin.forward_context():
                found = probe.measure(self._moment(name, net, batch))
            if not isinstance(found, Measurement):
                raise UsageError(
                    f"probe '{name}' returns {type(found).__name__}: measure() has to return a Measurement"
                )
            if trainer.is_global_zero:
                self._keep(name, found)

    def _moment(self, name: str, net: nn.Module, batch: tuple[Tensor, Tensor]) -> Moment:
        try:
            own = copy.deepcopy(net).train()
        except Exception as error:
            raise UsageError(
                f"probe '{name}': the network cannot be copied ({error}): train it without probes"
            ) from None
        own.zero_grad(set_to_none=True)
        images, labels = (part.detach().clone() for part in batch)
        return Moment(own, images, labels, self.position.step, self.position.steps)

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
