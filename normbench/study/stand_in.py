"""Which plan of a study there are runs of: on mnist, or on the embedded digits that stand in for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from typing import TYPE_CHECKING

from normbench.data import at_hand
from normbench.errors import UsageError
from normbench.study.file import Study
from normbench.study.plan import Plan, make_plan

if TYPE_CHECKING:
    from normbench.store import Store


def stored_plan(study: Study, store: Store) -> Plan:
    """The plan of which a store has the most runs."""
    plans = possible_plans(study, store.known(study.name))
    done = store.finished([run_id for plan in plans for run_id in plan.ids])
    return fullest(plans, done, store.ids_of(study.name))


def possible_plans(study: Study, known: Set[str] | None = None) -> list[Plan]:
    """The plan for this machine, and the one on the embedded digits, or on mnist, where that is another.

    A machine that no longer sees the files still tells what was trained on them.

    Args:
        study: The study.
        known: Ids of all runs that there can be (`Store.known`): where this machine's plan has them all, it is the one.
    """
    here = make_plan(study)
    if known is not None and known <= set(here.ids):
        return [here]
    try:
        other = make_plan(study, fallback=not here.fell_back)
    except UsageError:  # more images or larger batches than the embedded digits have: no run can have fallen back
        return [here]
    return [here] if set(other.ids) == set(here.ids) else [here, other]


def next_plan(study: Study, recorded: Collection[str]) -> Plan:
    """The plan of the next `run`, as far as can be told offline.

    Where mnist is not on this machine, that is what the last `run` came to: it tried a download, and what it decided
    may be noted nowhere else (a cache that cannot be written).

    Args:
        study: The study.
        recorded: Ids of the runs that the store has written down for it.
    """
    here = make_plan(study)
    if not recorded or all(map(at_hand, here.data_sets)):
        return here
    return fullest(possible_plans(study), recorded)


def fullest(plans: Sequence[Plan], done: Collection[str], recorded: Collection[str] = ()) -> Plan:
    """The plan with the most runs that have a result; of equals the one with the most `recorded` runs, or the first."""
    return max(plans, key=lambda plan: [sum(run.id in ids for run in plan.runs) for ids in (done, recorded)])
