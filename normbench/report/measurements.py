"""What probes found in the runs of a study, with the cell and the seed of each run."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from normbench.store import Store, axis_columns
from normbench.store.columns import MEASUREMENT_COLUMNS
from normbench.store.measurements import measurements
from normbench.study import Plan


def probes_of(plan: Plan) -> list[str]:
    """The probes that runs of a plan switch on, in order."""
    return list(dict.fromkeys(name for run in plan.runs for name in run.config.probes))


def measured(plan: Plan, store: Store, probes: Sequence[str], arrays: bool = True) -> pd.DataFrame:
    """What probes found in the planned runs: the axes and the seed, then MEASUREMENT_COLUMNS.

    Args:
        plan: The plan.
        store: Where its runs are.
        probes: Names of the probes.
        arrays: Whether numbers of single units are wanted too.
    """
    columns = axis_columns(list(plan.study.axes))
    rows = [
        {**{column: run.cell[axis] for axis, column in columns.items()}, "seed": run.seed, "run_id": run.id}
        for run in plan.placed
    ]
    cells = pd.DataFrame(rows, columns=[*columns.values(), "seed", "run_id"])
    found = [measurements(store, plan.ids, probe, arrays) for probe in probes]
    found = [one for one in found if not one.empty] or [pd.DataFrame(columns=list(MEASUREMENT_COLUMNS))]
    frame = pd.concat(found)
    return cells.merge(frame, on="run_id")
