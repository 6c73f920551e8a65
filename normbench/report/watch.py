"""A report that is written again while its study runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from normbench.report.collection import gather
from normbench.store import Store
from normbench.study import Study
from normbench.study.file import IDLE_SECONDS, untrained

WATCH_SECONDS = 20.0
COMING = ("running", "waiting")  # states of which a result can still come without anybody doing anything


def watch_report(
    study: str | Path | Study,
    store: Store | Path,
    reports: Path,
    every: float = WATCH_SECONDS,
    maps_of: int | None = None,
) -> Iterator[str]:
    """Writes the report whenever a run was finished or ended since, until none runs or waits.

    Yields a line for each writing. Runs that failed, were interrupted or have a broken result wait for a person:
    they are told, not waited for. Runs that wait are waited for IDLE_SECONDS while none runs: nobody may be there to
    train them.
    """
    from normbench.report import write_evidence

    told, idle = None, 0.0
    while True:
        evidence = replace(gather(study, store), maps_of=maps_of)
        done = len(evidence.plan.runs) - sum(evidence.states.values())
        ended = {state: count for state, count in sorted(evidence.states.items()) if state not in COMING}
        if (done, ended) != told:
            told = done, ended
            paths = write_evidence(evidence, reports)
            words = "".join(f", {count} {state}" for state, count in ended.items())
            yield f"{done} of {len(evidence.plan.runs)} runs{words}: {paths[-1]}"
        if not any(evidence.states.get(state) for state in COMING):
            return
        idle = 0.0 if evidence.states.get("running") else idle + every
        if idle > IDLE_SECONDS:
            yield untrained(evidence.study)
            return
        time.sleep(every)
