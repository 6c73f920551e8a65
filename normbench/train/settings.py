"""Settings of torch that hold for the whole process and that a result depends on: set for a run, then put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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

    An autocast, inference mode or default device of the caller's does not reach the run either: the first would compute
    in half precision what is recorded as single.

    Args:
        threads: CPU threads of this process.
        deterministic: Use deterministic algorithms only.
    """
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        (cudnn.benchmark, cudnn.deterministic),
        torch.get_default_dtype(),
    )
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        cudnn.benchmark, cudnn.deterministic = False, deterministic
        torch.set_default_dtype(torch.float32)
        torch.set_flush_denormal(True)  # False, and nothing else, on a processor that cannot
        with _float32_is_float32(cuda, cudnn), _without_callers_modes():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        cudnn.benchmark, cudnn.deterministic = before[3]
        torch.set_default_dtype(before[4])
        torch.set_flush_denormal(False)  # torch does not tell what it was; this is its default


@contextmanager
def _float32_is_float32(cuda: Any, cudnn: Any) -> Iterator[None]:
    """Undoes both ways of torch to compute float32 by fewer digits: TF32 on GPUs, and `fp32_precision` (torch 2.9).

    The second also makes convolutions on a CPU compute in bfloat16, and torch refuses to tell the first while they
    disagree.
    """
    backends: Any = torch.backends
    parents = [backends, cudnn]  # what is set of backends.mkldnn itself, torch sets of backends
    kinds = ("conv", "rnn", "matmul")
    children = [getattr(family, kind, None) for family in (backends.mkldnn, cudnn) for kind in kinds]
    chosen = _cleared(parents)  # first: where one of these has a value, its children tell that and not their own
    older = _told(torch.get_float32_matmul_precision), _told(lambda: cudnn.allow_tf32)
    chosen += _cleared([*children, cuda])
    try:
        torch.set_float32_matmul_precision("highest")
        cuda.allow_tf32 = cudnn.allow_tf32 = False
        yield
    finally:
        if older[0] is not None:
            torch.set_float32_matmul_precision(older[0])
        if older[1] is not None:
            cudnn.allow_tf32 = older[1]
        for item, value in chosen:
            item.fp32_precision = value


def _cleared(items: Sequence[Any]) -> list[tuple[Any, str]]:
    """What had an `fp32_precision`, and which; it has none now."""
    found = []
    for item in items:
        if hasattr(item, "fp32_precision"):
            found.append((item, item.fp32_precision))
            item.fp32_precision = "none"
    return found


def _told(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except RuntimeError:  # mixed with the newer way
        return None


@contextmanager
def _without_callers_modes() -> Iterator[None]:
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.empty(0).device.type != "cpu":  # only then: this mode costs something with each call
            stack.enter_context(torch.device("cpu"))
        yield


def settings_in_force() -> dict[str, Any]:
    """The same settings as they are now, for a result to record."""
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "flush_denormal": (torch.tensor(1e-40) * 1.0).item() == 0,
    }
