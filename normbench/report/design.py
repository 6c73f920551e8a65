"""What a study holds equal and what it varies, for a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normbench.privacy import without_places
from normbench.spec import to_dict
from normbench.spec.keys import flatten
from normbench.study.plan import files_of_rates
from normbench.study.rates import RATE

if TYPE_CHECKING:
    from normbench.report.evidence import Evidence


def design(evidence: Evidence) -> list[tuple[str, str]]:
    """See `Evidence.design`."""
    study = evidence.study
    rows = [("study", study.name)]
    for axis, levels in study.axes.items():
        rows.append((evidence.title(evidence.columns[axis]), ", ".join(str(level.label) for level in levels)))
    rows.append(("seeds", ", ".join(map(str, study.seeds))))
    rows += [("learning rates", told) for told in dict.fromkeys(rates.told for rates in files_of_rates(study))]
    if study.looks:
        spend = ", ".join(f"{share:.0%}" for share in study.looks.spend)
        rows.append(("looks", f"at {', '.join(map(str, study.looks.seeds))} seeds, spending {spend} of the level"))
    budget = study.base.budget
    held = next(((k, v) for k in ("epochs", "steps", "samples") if (v := getattr(budget, k)) is not None), None)
    rows.append(("held equal", f"{held[1]:,} {held[0]}" if held else "one epoch"))
    rows.append(("runs", f"{evidence.runs['run_id'].nunique()} of {len(evidence.asked)} done"))
    for dataset, group in evidence.runs.groupby("dataset"):
        rows.append(("data set", f"{dataset} ({group['run_id'].nunique()} runs)"))
    return rows


def configuration(evidence: Evidence) -> dict[str, Any]:
    """See `Evidence.configuration`."""
    changed = {key for levels in evidence.study.axes.values() for level in levels for key in level.changes} | {"seed"}
    if files_of_rates(evidence.study):
        changed.add(RATE)
    first = flatten(without_places(to_dict(evidence.plan.runs[0].config)))
    return {
        key: value
        for key, value in dict(first).items()
        if value is not None
        and not key.startswith("logger.")
        and not any(key == name or key.startswith(f"{name}.") for name in changed)
    }
