"""One run: a configuration in, a result and a run folder out.

run.py             train(): a run from top to bottom
module.py          NormClassifier, the LightningModule
initialisation.py  the contract of initial values, with draws.py
randomness.py      torch's, numpy's and Python's own generators
optimizers.py      the registry of optimizers
trainer.py         Lightning's Trainer, untouched by the environment
settings.py        torch's settings of the process
stopping.py        Ctrl-C and SIGTERM
environment.py     what a result records of machine and code
callbacks/         what happens beside the training
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Loaded where they are used: torch and Lightning take seconds.
_HOME = {
    "NormClassifier": "normbench.train.module",
    "evaluated": "normbench.train.evaluation",
    "register_callback": "normbench.train.callbacks",
    "register_optimizer": "normbench.train.optimizers",
    "train": "normbench.train.run",
}
__all__ = [*_HOME]  # noqa: PLE0604  (they are text)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'normbench.train' has no attribute '{name}'")
