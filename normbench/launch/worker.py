"""A warm worker process: imports the libraries once, then trains the runs that it is sent."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from normbench.launch.gpus import claim
from normbench.launch.orphan import die_with_parent

PROGRESS_SECONDS = 0.5


def serve(pipe: Connection, gpus: list[str], slot: int) -> None:
    """Trains what comes down the pipe, until None does.

    A request is (configuration as a dictionary, run folder). Answers are ("progress", steps done),
    ("done", None), ("busy", None) or ("failed", last line of the error).
    """
    die_with_parent()
    claim(gpus, slot)
    pipe.send(("ready", None))
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        if request is None:
            return
        pipe.send(_run(pipe, *request))


def _run(pipe: Connection, tree: dict[str, Any], folder: Path) -> tuple[str, Any]:
    from normbench.errors import RunFolderError
    from normbench.launch.ranks import execute
    from normbench.spec.schema import from_dict
    from normbench.store.folder import ERROR, claimed, read_result, write_atomically

    told = 0.0

    def progress(step: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told = now
            pipe.send(("progress", step))

    try:
        with claimed(folder) as mine:
            if not mine:
                return "busy", None
            if read_result(folder) is None:
                execute(from_dict(tree), folder, progress)
            return "done", None
    except Exception as error:  # one failed run does not stop the others
        from normbench.train.run import failure

        text = failure(error)
        try:
            write_atomically(folder / ERROR, text)
        except RunFolderError as unwritable:
            return "fatal", str(unwritable)
        line = text.strip().splitlines()[-1]
        return ("fatal" if isinstance(error, RunFolderError) else "failed"), line
