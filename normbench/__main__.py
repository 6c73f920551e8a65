"""`normbench` and `python -m normbench`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and exits with its status."""
    try:
        from normbench.cli.main import run_command

        sys.exit(run_command(sys.argv[1:]))
    except KeyboardInterrupt:  # before, or after, the command line was there to answer it
        sys.exit(130)


if __name__ == "__main__":
    main()
