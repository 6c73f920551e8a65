"""How long a study's runs take on this machine, from the results in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from normbench.cli.options import number
from normbench.errors import NormbenchError
from normbench.machine import is_here

if TYPE_CHECKING:
    from normbench.spec import RunConfig
    from normbench.store import Store
    from normbench.store.result import Result
    from normbench.study import Measured, Plan, PlannedRun

OTHERS = 200  # runs of other studies that are looked at


def measured(plan: Plan, store: Store, left: Sequence[PlannedRun]) -> Measured:
    """What is known of the seconds of the runs that are left."""
    from normbench.study import Measured

    configs = {run.id: run.config for run in plan.runs}
    own = ((configs[run_id], _read(store, run_id)) for run_id in store.latest(configs))
    return Measured(own, _others(plan, store), [run.config for run in left])


def time_told(left: Sequence[PlannedRun], speed: Measured, workers: int) -> str:
    """`about 45 s with 2 workers (from 3 finished runs)`."""
    from normbench.launch.progress import duration
    from normbench.study import describe
    from normbench.study.estimate import WORKER_SECONDS

    cells = {describe(run.cell): run.config for run in left}  # whose seeds take equally long
    of_cell = {cell: speed.seconds(config) for cell, config in cells.items()}
    each = [of_cell[describe(run.cell)] for run in left]
    seconds = WORKER_SECONDS + max(sum(each) / workers, *each)  # the longest run is on one worker
    return f"about {duration(seconds)} with {number(workers, 'worker')} ({speed.basis})"


def _seconds(result: Result | None) -> float | None:
    """Seconds that a run took here. Of one that was continued, the last part alone is on the wall's clock."""
    if result is None or not is_here(result["environment"]):
        return None
    return float(max(result["wall_seconds"], result["seconds"]))


def _read(store: Store, run_id: str) -> Callable[[], float | None]:
    return lambda: _seconds(store.folder(run_id).result())


def _others(plan: Plan, store: Store) -> Iterator[tuple[RunConfig, float]]:
    """Runs of other studies. Nobody's plug-ins are imported for an estimate but those of this study."""
    from normbench.spec import from_dict
    from normbench.store import Store

    store = Store(store.root)  # one that compares no ids, which would import the plug-ins of every run
    ids, plugins = set(plan.ids), set(plan.study.base.plugins)
    for run_id in [run_id for run_id in store.latest() if run_id not in ids][:OTHERS]:
        with suppress(NormbenchError):
            result = store.folder(run_id).result()
            seconds = _seconds(result)
            if result is not None and seconds is not None and plugins.issuperset(result["config"].get("plugins") or ()):
                yield from_dict(result["config"]), seconds
