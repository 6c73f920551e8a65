"""`normbench` and `python -m normbench`."""

from __future__ import annotations

import sys

from normbench.output import outlive_readers
from normbench.stops import Stopped, say_stopped, signals_raise


def main() -> None:
    """Runs the command line and exits with its status."""
    try:
        with signals_raise():
            outlive_readers()
            from normbench.cli.main import run_command

            sys.exit(run_command(sys.argv[1:]))
    except (KeyboardInterrupt, Stopped) as stop:  # before, or after, the command line was there to answer it
        sys.exit(say_stopped(stop))


if __name__ == "__main__":
    main()
