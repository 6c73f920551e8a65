"""No training outlives the command that started it."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def die_with_parent() -> None:
    """Makes this process end as soon as its parent has, however that ended; Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_and_exit, daemon=True).start()


def _wait_and_exit() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
