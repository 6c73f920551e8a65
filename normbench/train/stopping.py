"""Ctrl-C and SIGTERM end a run as what they are, whatever Lightning makes of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from normbench.errors import Terminated


def _terminate(number: int, frame: Any) -> None:
    raise Terminated("SIGTERM")


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt and SIGTERM `errors.Terminated`, at once; handlers are put back afterwards.

    Lightning turns Ctrl-C into SystemExit(1) with SIGINT ignored from then on, and SIGTERM into a SystemExit without
    a status, at the end of an epoch. A handler of SIGTERM that the program has set itself stays.
    """
    own = threading.current_thread() is threading.main_thread()
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) if own else None
    if own and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except SIGTERMException:
        raise Terminated("SIGTERM") from None
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if before is not None:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                if handler is not None:  # one that was not set from Python
                    signal.signal(number, handler)
