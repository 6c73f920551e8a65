"""The pool where several of its workers die at the same moment."""

import os
from collections import deque
from pathlib import Path

from normbench.launch.pool import ATTEMPTS, Pool, _Worker
from normbench.spec.schema import RunConfig
from normbench.store.folder import ERROR
from normbench.study.study import PlannedRun


def test_two_workers_that_die_together_are_both_noticed(tmp_path: Path) -> None:
    told = []
    pool = Pool(2, tmp_path, lambda event, run, value: told.append((event, run.id)))
    for slot, run in enumerate((None, PlannedRun("a", {}, 0, RunConfig()))):
        ours, theirs = pool.context.Pipe()
        process = pool.context.Process(target=os._exit, args=(1,))
        process.start()
        process.join()
        theirs.close()
        pool.workers.append(_Worker(process, ours, slot, run))
    pool.attempts["a"] = ATTEMPTS - 1
    pool._listen(deque())
    assert pool.workers == []
    assert told == [("failed", "a")]
    assert "its worker exited with 1, 3 times" in (tmp_path / "a" / ERROR).read_text()
