"""What happens beside the training of a run, one thing a file; `recorder` calls them.

    recorder.py    the one Lightning callback: at which step which of the others has to act
    clock.py       seconds of training alone
    curves.py      metrics.csv
    divergence.py  whether, and at which step, the run left the finite numbers
    checkpoint.py  checkpoint.ckpt, from which a run goes on, and weights.ckpt, which stays
    progress.py    where the run stands
    probe.py       measurements that a run switches on (the room `normbench.probes`)

A plug-in adds a Lightning callback of its own with `register_callback`; `trainer.callbacks` names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from normbench.spec.registry import CALLBACKS, entry_of

Build = TypeVar("Build", bound=Callable[..., Any])


def register_callback(name: str) -> Callable[[Build], Build]:
    """Decorator that registers a `lightning.pytorch.Callback` (or a function that makes one) under a name.

    A callback can do anything: what it changes in a run is its author's to answer for, so its name and the file that
    defines it are part of the run's identity. To measure without changing anything, write a probe.
    """

    def add(build: Build) -> Build:
        CALLBACKS.add(entry_of(name, build))
        return build

    return add


__all__ = ["register_callback"]
