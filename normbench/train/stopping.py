"""Ctrl-C, SIGTERM and SIGHUP end a run as what they are, whatever Lightning makes of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException

from normbench.stops import Terminated, signals_raise


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, the others what `stops` says, at once; handlers are put back afterwards.

    Lightning turns Ctrl-C into SystemExit(1) with SIGINT ignored from then on, and SIGTERM into a SystemExit without
    a status, at the end of an epoch. A handler that the program has set itself stays.
    """
    interrupt = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    try:
        with signals_raise():
            yield
    except SIGTERMException:
        raise Terminated from None
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if interrupt is not None:  # one that was not set from Python
            signal.signal(signal.SIGINT, interrupt)
