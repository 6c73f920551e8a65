"""No training outlives the command that started it, and a rank ends when it is told to."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process

from normbench.launch.ends import SHELL
from normbench.stops import STOPS, HungUp


def die_with_parent() -> None:
    """Makes this process end as soon as its parent has, however that ended.

    What a terminal tells all of a command's processes, Ctrl-C and its own end, is left to the parent.
    """
    for number in (signal.SIGINT, *(number for number, kind in STOPS.items() if kind is HungUp)):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_wait_and_exit, daemon=True).start()


def _wait_and_exit() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def end_on_sigterm() -> None:
    """Makes SIGTERM end this process at once with 143; to be called before there are other threads.

    Lightning answers SIGTERM in a rank with a broadcast, which waits for ranks that were sent none.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_sigterm, daemon=True).start()


def _wait_for_sigterm() -> None:
    signal.sigwait({signal.SIGTERM})
    os._exit(SHELL + signal.SIGTERM)
