"""How a command or a run is stopped: by Ctrl-C, by SIGTERM, by the end of its terminal. Each has its exit status.

A leaf: the command line takes up the signals before it imports anything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from normbench.output import discard


class Stopped(BaseException):
    """Ended by Ctrl-C while something ran; no handler for ordinary errors catches it."""

    exit_status = 130


class Terminated(Stopped):
    """Ended by SIGTERM: a scheduler's or a shell's polite end."""

    exit_status = 143


class HungUp(Stopped):
    """Ended by SIGHUP: the terminal was closed, or the connection to it is lost."""

    exit_status = 129


STOPS: dict[int, type[Stopped]] = {signal.SIGTERM: Terminated}
if hasattr(signal, "SIGHUP"):
    STOPS[signal.SIGHUP] = HungUp


def stop(number: int, frame: FrameType | None) -> None:
    """A handler of the signals in STOPS."""
    _leave_closed_terminals()
    raise STOPS[number]


@contextmanager
def signals_raise() -> Iterator[None]:
    """The signals in STOPS raise, at once, what they stand for; handlers are put back afterwards.

    One that is ignored (nohup does that to SIGHUP), or has a handler, stays as it is; so do all outside the main
    thread, where Python takes no handler.
    """
    own = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in STOPS} if own else {}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


def with_advice(stopped: BaseException, advice: str) -> Stopped:
    """The same end (KeyboardInterrupt or Stopped), which says how to go on."""
    return (type(stopped) if isinstance(stopped, Stopped) else Stopped)(advice)


def say_stopped(stopped: BaseException) -> int:
    """One line on stderr for KeyboardInterrupt or Stopped; returns the exit status."""
    print("stopped" + (f": {stopped}" if str(stopped) else ""), file=sys.stderr)
    return getattr(stopped, "exit_status", Stopped.exit_status)


def _leave_closed_terminals() -> None:
    """Sends what is still written to a closed terminal nowhere: it would fail, and hide what this is about."""
    for output in (1, 2):
        try:
            os.write(output, b"")
        except OSError:
            discard(output)
