"""The evidence of a study, from its plan and the store of its runs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from normbench.report.evidence import Evidence
from normbench.store import Store, axis_columns
from normbench.study import Plan, Study, describe, fullest, load_study, possible_plans

MOST_UNFINISHED = 10_000  # unfinished runs that are told one by one


def evidence_of(plan: Plan, store: Store) -> Evidence:
    """The evidence for one plan, without what its unfinished runs are doing."""
    table = store.table({run.id: run.cell for run in plan.runs}, plan.study.name)
    return Evidence(plan, placed(table, [plan]), store, [])


def placed(table: pd.DataFrame, plans: Sequence[Plan]) -> pd.DataFrame:
    """A results table with a row more for each further cell that a run stands for."""
    twins = [run for plan in plans for run in plan.twins]
    if not twins or table.empty:
        return table
    columns = axis_columns(list(plans[0].study.axes))
    cells = pd.DataFrame([{"run_id": run.id, **{columns[axis]: run.cell[axis] for axis in columns}} for run in twins])
    rows = table.drop(columns=list(columns.values())).merge(cells, on="run_id")
    return pd.concat([table, rows[table.columns]], ignore_index=True)


def gather(study: str | Path | Study, store: Store | str | Path) -> Evidence:
    """The evidence that a store has for a study, finished or not.

    Args:
        study: A study, its file, or its name in experiments/.
        store: The store of its runs, or the store's root.
    """
    loaded = study if isinstance(study, Study) else load_study(study)
    store = store if isinstance(store, Store) else Store(store)
    # Runs on the embedded digits belong to the study too, as a data set of their own.
    plans = possible_plans(loaded, store.known(loaded.name))
    cells = {run.id: run.cell for plan in plans for run in plan.runs}
    table = placed(store.table(cells, loaded.name, list(loaded.axes)), plans)
    done = set(table["run_id"])
    plan = fullest(plans, done, store.ids_of(loaded.name))
    ids = [set(each.ids) for each in plans]  # cells on other data sets are in both plans
    common = set[str].intersection(*ids)
    several = sum(bool(done & (own - common)) for own in ids) > 1
    evidence = Evidence(plan, table, store, [], two_data_sets=several)
    left = [run for run in evidence.asked if run.id not in done]
    states = store.states([run.id for run in left])
    # A folder can become done after the table was read: it counts with the next reading.
    counts: Counter[str] = Counter("running" if state == "done" else state for state in states.values())
    unfinished = []
    for run in itertools.islice(left, MOST_UNFINISHED):
        state = states[run.id]
        why = store.folder(run.id).error() or "" if state == "failed" else ""
        words = f"{describe(run.cell)}, seed {run.seed}"
        unfinished.append({"run_id": run.id, "run": words, "state": state, "why": why})
    return replace(evidence, unfinished=unfinished, states=counts)
