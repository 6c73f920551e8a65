"""Settings of torch that hold for the whole process and that a result depends on: set for a run, then put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def process_settings(threads: int, deterministic: bool) -> Iterator[None]:
    """Sets what a run depends on, whatever the process or its environment had chosen, and puts it back afterwards.

    float32 is float32: TensorFloat-32, which cuDNN uses unasked, is off in every precision, and so are cuDNN's trials
    of algorithms, whose choice differs from run to run. (What this does on CUDA was not run in the tests.)

    Numbers below 1.2e-38 are zero. A momentum whose gradient stays zero (a dead unit's) decays into them after some
    hundred steps, and a processor takes some hundred times as long for each: at batch size 2 they made a step of Adam
    on the digit CNN four to six times as slow.

    Args:
        threads: CPU threads of this process.
        deterministic: Use deterministic algorithms only.
    """
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
        (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic),
        torch.get_default_dtype(),
    )
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_float32_matmul_precision("highest")
        cuda.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = False
        cudnn.deterministic = deterministic
        torch.set_default_dtype(torch.float32)
        torch.set_flush_denormal(True)  # False, and nothing else, on a processor that cannot
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        torch.set_float32_matmul_precision(before[3])
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before[4]
        torch.set_default_dtype(before[5])
        torch.set_flush_denormal(False)  # torch does not tell what it was; this is its default


def settings_in_force() -> dict[str, Any]:
    """The same settings as they are now, for a result to record."""
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "flush_denormal": (torch.tensor(1e-40) * 1.0).item() == 0,
    }
