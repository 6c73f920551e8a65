"""normbench: what does a normalization do to training, and how sure can one be?

Public names are imported on first use, so that `import normbench` and `normbench --help` stay fast:
torch is loaded only where something trains.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from normbench.environ import quiet_matplotlib

quiet_matplotlib()
__version__ = "0.2.0"

_HOME = {
    "MNISTDataModule": "normbench.data",
    "NormClassifier": "normbench.train.module",
    "RunConfig": "normbench.spec",
    "build_model": "normbench.models",
    "build_norm": "normbench.norms",
    "register_callback": "normbench.train",
    "register_dataset": "normbench.data",
    "register_model": "normbench.models",
    "register_norm": "normbench.norms",
    "register_optimizer": "normbench.train",
    "register_probe": "normbench.probes",
    "run_study": "normbench.launch.study",
}
__all__ = [
    "MNISTDataModule",
    "NormClassifier",
    "RunConfig",
    "__version__",
    "build_model",
    "build_norm",
    "register_callback",
    "register_dataset",
    "register_model",
    "register_norm",
    "register_optimizer",
    "register_probe",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'normbench' has no attribute '{name}'")
