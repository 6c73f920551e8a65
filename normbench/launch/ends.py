"""How processes end: in words, and by the signal that they were sent."""

from __future__ import annotations

import os
import signal

from normbench.stops import STOPS, stop

SHELL = 128  # a shell's status for a process ended by a signal: 128 + its number


def signal_of(exitcode: int | None) -> int:
    """The signal that ended a process, 0 for none: Python says -15, a shell and our own processes 143."""
    code = exitcode or 0
    return -code if code < 0 else code - SHELL if code - SHELL in (signal.SIGINT, *STOPS) else 0


def how(exitcode: int | None) -> str:
    """How a process ended.

    Example:
        >>> how(-15), how(-9), how(3)
        ('was ended by SIGTERM', 'was ended by SIGKILL', 'exited with 3')
    """
    number = signal_of(exitcode)
    if not number:
        return f"exited with {exitcode}"
    try:
        return f"was ended by {signal.Signals(number).name}"
    except ValueError:
        return f"was ended by signal {number}"


def advice(exitcode: int | None) -> str:
    """What may have ended a process so often, to be put behind `how`; "" where the signal says it all."""
    return ": out of memory? try fewer workers" if signal_of(exitcode) == signal.SIGKILL else ""


def raise_terminated() -> None:
    """Makes SIGTERM raise Terminated in this process, also while Lightning, which calls handlers it finds, trains."""
    signal.signal(signal.SIGTERM, stop)


def end_by(number: int) -> None:
    """Ends this process by a signal, so that its parent sees what ended it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
