"""Whether this machine has the devices that runs ask for, told before the first of them is started."""

from __future__ import annotations

from collections.abc import Iterable

from normbench.errors import UsageError
from normbench.spec import RunConfig
from normbench.spec.gpus import visible_gpus


def refuse_missing_devices(configs: Iterable[RunConfig]) -> None:
    """Raises UsageError for resolved runs on a kind of device that this machine does not have."""
    kinds = {config.trainer.accelerator for config in configs} - {"cpu"}
    if kinds <= {"cuda"} and (not kinds or visible_gpus()):
        return
    import torch  # which alone knows GPUs that no NVIDIA driver lists

    if "cuda" in kinds and not torch.cuda.is_available():
        raise UsageError("trainer.accelerator=cuda: this machine has no GPU that torch can use: choose cpu, or auto")
    if "mps" in kinds and not torch.backends.mps.is_available():
        raise UsageError("trainer.accelerator=mps: this machine has no GPU of Apple's: choose cpu, or auto")
