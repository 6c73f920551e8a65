"""The answer to a study's question in sentences: one for each contrast, read off its verdicts and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from normbench.report.contrasts import Contrast
from normbench.report.words import (
    counted_families,
    duration,
    interval_text,
    listed,
    seeds_text,
    size_text,
)
from normbench.study import seconds_left
from normbench.study.file import asked_as
from normbench.study.metrics import counted

if TYPE_CHECKING:
    from normbench.report.evidence import Evidence

TOLD = ("better", "worse", "better by less than the margin", "worse by less than the margin")
ORDER = (*TOLD, "equivalent", "identical", "diverged", "baseline diverged", "open")

LOST = "lost"
UNNAMED = re.compile(r"levels|(levels|within|change|slope) \d+")  # names that a study did not give


def answer(evidence: Evidence) -> list[str]:
    """One sentence for each contrast, one on how they were judged, and what is open, diverged and unfinished."""
    sentences = []
    for contrast, table in zip(evidence.contrasts, evidence.estimates, strict=True):
        rows = _with_data(table)
        if rows.empty:
            sentences.append(_nothing_yet(evidence, contrast))
        else:
            sentences.append(contrast_sentence(evidence, contrast, rows))
    whole = pd.concat([_with_data(table) for table in evidence.estimates], ignore_index=True)
    if len(whole):
        sentences.append(method_sentence(evidence, whole))
    return [*sentences, *filter(None, (open_sentence(evidence, whole), progress_sentence(evidence)))]


def _with_data(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with a pair, or with runs of both sides of which some diverged."""
    runs = (table["runs_treatment"] > 0) & (table["runs_baseline"] > 0)
    diverged = (table["diverged_treatment"] > 0) | (table["diverged_baseline"] > 0)
    return table[(table["pairs"] > 0) | (runs & diverged)]


def _nothing_yet(evidence: Evidence, contrast: Contrast) -> str:
    what = evidence.level_name(contrast.baseline, contrast.factor)
    if contrast.kind == "within":
        what = f"{what} at {evidence.title(contrast.along)} {contrast.start}"
    elif contrast.kind == "change":
        what = f"the change of {what} from {evidence.title(contrast.along)} {contrast.start}"
    elif contrast.kind == "slope":
        what = f"the slope of {what} along {evidence.title(contrast.along)}"
    return f"No comparison with {what} can be made yet: {counted([evidence.runs['run_id'].nunique()], 'run')} done."


def contrast_sentence(evidence: Evidence, contrast: Contrast, rows: pd.DataFrame) -> str:
    """What a contrast comes to: a clause for each treatment, by its verdicts and the range of its sizes."""
    metric, base = evidence.metric, evidence.level_name(contrast.baseline, contrast.factor)
    along = evidence.title(contrast.along) if contrast.along else ""
    treatments = list(dict.fromkeys(rows["treatment"]))
    clauses = []
    for treatment in sorted(treatments, key=_place(contrast)):
        found = rows[rows["treatment"] == treatment]
        name = evidence.level_name(treatment, contrast.factor) if contrast.kind != "within" else f"{along} {treatment}"
        clauses.append(_clause(evidence, contrast, name, found))
    heads = {
        "levels": f"Compared with {base} in {metric.label}: ",
        "within": f"Within {base}, compared with {along} {contrast.start} in {metric.label}: ",
        "change": f"In how much {metric.label} changes from {along} {contrast.start}, compared with {base}: ",
        "slope": f"In how much {metric.label} changes with each doubling of {along}, compared with {base}: ",
    }
    named = "" if UNNAMED.fullmatch(contrast.name) else f"{contrast.name[0].upper()}{contrast.name[1:]}. "
    kept = [f"{evidence.title(axis)} {listed(list(map(str, labels)))}" for axis, labels in contrast.where.items()]
    head = heads[contrast.kind] if not kept else f"At {', '.join(kept)}: {_lower(heads[contrast.kind])}"
    return f"{named}{head}{'; '.join(clauses)}."


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _place(contrast: Contrast) -> Any:
    order = {label: i for i, label in enumerate(contrast.stops if contrast.kind == "within" else contrast.levels)}
    return lambda label: order.get(label, len(order))


def _clause(evidence: Evidence, contrast: Contrast, name: str, rows: pd.DataFrame) -> str:
    """`group is worse by 1.20 points (95 % interval -1.50 to -0.90)`, or its cells counted by verdict."""
    if len(rows) == 1:
        row = rows.iloc[0].to_dict()
        where = _where(evidence, contrast, row)
        return f"{name} {_alone(evidence, contrast, row)}" + (f" at {where}" if where else "")
    parts = []
    # "open" without a pair is another thing than a difference that is not told apart.
    rows = rows.assign(verdict=rows["verdict"].mask((rows["verdict"] == "open") & (rows["pairs"] == 0), LOST))
    verdicts = [verdict for verdict in (*ORDER, LOST) if (rows["verdict"] == verdict).any()]
    for verdict in verdicts:
        found = rows[rows["verdict"] == verdict]
        count = "every cell" if len(found) == len(rows) else f"{len(found)} of {len(rows)} cells"
        if len(found) == 1 and (where := _where(evidence, contrast, found.iloc[0].to_dict())):
            count += f" ({where})"
        parts.append(f"{_several(evidence, verdict, found)} in {count}")
    return f"{name} {listed(parts)}"


def _where(evidence: Evidence, contrast: Contrast, row: Mapping[Any, Any]) -> str:
    parts = [
        f"{evidence.title(axis)} {row[axis]}"
        for axis in contrast.across
        if len(contrast.where.get(axis, "several")) > 1
    ]
    if contrast.kind == "change":
        stop = contrast.stop(row["along"])
        parts.insert(0, f"{evidence.title(contrast.along)} {stop}")
    return ", ".join(parts)


def _alone(evidence: Evidence, contrast: Contrast, row: Mapping[Any, Any]) -> str:
    """The verdict of a lone row, with its size and interval."""
    metric, verdict = evidence.metric, row["verdict"]
    size = metric.shown_difference(row["diff"]) if pd.notna(row["diff"]) else "no difference known"
    known = pd.notna(row["low"])
    found = f"({size}, 95 % interval {interval_text(row, metric, contrast.kind)})" if known else f"({size})"
    texts = {
        "better": f"is better {found}",
        "worse": f"is worse {found}",
        "better by less than the margin": f"is better by less than {evidence.margin_text} {found}",
        "worse by less than the margin": f"is worse by less than {evidence.margin_text} {found}",
        "equivalent": f"is equivalent within {evidence.margin_text} {found}",
        "identical": f"is identical in {_all_seeds(row['pairs'])}",
        "diverged": f"diverged in {row['diverged_treatment']} of {row['runs_treatment']} runs",
        "baseline diverged": f"stands while the other side diverged in {row['diverged_baseline']} of "
        f"{row['runs_baseline']} runs",
        "open": f"is not told apart {found}" if row["pairs"] else "cannot be compared (no pair has two values)",
    }
    return texts[verdict]


def _all_seeds(pairs: float) -> str:
    return f"all {pairs:.0f} seeds" if pairs > 1 else "its one seed"


def _several(evidence: Evidence, verdict: str, rows: pd.DataFrame) -> str:
    size = size_text(rows["diff"], evidence.metric)
    texts = {
        "better": f"is better by {size}",
        "worse": f"is worse by {size}",
        "better by less than the margin": f"is better by {size}, less than {evidence.margin_text},",
        "worse by less than the margin": f"is worse by {size}, less than {evidence.margin_text},",
        "equivalent": f"is equivalent within {evidence.margin_text}",
        "identical": "is identical",
        "diverged": f"diverged ({rows['diverged_treatment'].sum()} of {rows['runs_treatment'].sum()} runs)",
        "baseline diverged": f"stands while the other side diverged ({rows['diverged_baseline'].sum()} of "
        f"{rows['runs_baseline'].sum()} runs)",
        "open": "is not told apart",
        LOST: f"cannot be compared ({rows['diverged_treatment'].sum()} of {rows['runs_treatment'].sum()} runs "
        f"diverged, {rows['diverged_baseline'].sum()} of {rows['runs_baseline'].sum()} of the other side)",
    }
    return texts[verdict]


def method_sentence(evidence: Evidence, rows: pd.DataFrame) -> str:
    """How the verdicts were reached."""
    errors = {
        "paired": "paired t by seed",
        "shrunk": "paired by seed, with each variance shrunk to its cell's",
        "pooled": "paired by seed, with variances pooled over the cell",
    }
    used = "; ".join(text for error, text in errors.items() if (rows["error"] == error).any())
    sizes = list(evidence.families.values())
    data = "" if len(rows) == sum(sizes) else f", of which {len(rows)} {'has' if len(rows) == 1 else 'have'} data"
    looks = f"{evidence.looks.looks} planned looks" if evidence.looks else ""
    if sum(sizes) == 1:
        judged = f"read off its 95 % interval{f', which allows for {looks}' if looks else ''}"
    else:
        them = "all of a family" if len(sizes) > 1 else "all of them"
        judged = f"read off 95 % intervals that hold for {them} at once{f' and at {looks}' if looks else ''}"
    family = counted_families(sizes)
    return f"The verdicts are {judged} ({family}{data}; {used})."


def open_sentence(evidence: Evidence, rows: pd.DataFrame) -> str:
    """How many comparisons are open, and what would close them; empty where none is."""
    undecided = rows[rows["verdict"] == "open"] if len(rows) else rows
    if undecided.empty:
        return ""
    if not undecided["pairs"].any():
        return f"{len(undecided)} of {counted([len(rows)], 'comparison')} cannot be made: no pair has two values."
    are = "is" if len(undecided) == 1 else "are"
    text = f"{len(undecided)} of {counted([len(rows)], 'comparison')} {are} open with "
    text += counted(undecided.loc[undecided["pairs"] > 0, "pairs"], "seed")
    if lost := int((undecided["pairs"] == 0).sum()):
        text += f" ({lost} without a pair that has two values)"
    needed = seeds_text(undecided["seeds_low"].min(), undecided["seeds_high"].max(), undecided["plan_reason"])
    if evidence.margin is None:
        return f"{text}; without a margin (compare.margin) no number of seeds can be named."
    if not needed:
        return f"{text}."
    return f"{text}: to find a difference of {evidence.margin_text}, {needed} would be needed."


def progress_sentence(evidence: Evidence) -> str:
    """What is done of an unfinished study, and when to come back; empty for a finished one."""
    planned, done = len(evidence.asked), set(evidence.runs["run_id"])
    left = sum(run.id not in done for run in evidence.asked)
    if not left:
        return ""
    states = {state: count for state, count in evidence.states.items() if state not in ("running", "waiting")}
    stuck = "".join(f", {count} {state}" for state, count in sorted(states.items()))
    looks = f"{evidence.looks.done} of {evidence.looks.looks} looks are made, " if evidence.looks else ""
    text = f"Interim: {looks}{planned - left} of {planned} runs are done{stuck}"
    running = evidence.states.get("running", 0)
    if not running:
        return f"{text}, and none is running; to go on: normbench run {asked_as(evidence.study)}"
    walls = zip(evidence.runs["run_id"], evidence.runs["wall_seconds"], strict=True)
    took = {run_id: partial(float, seconds) for run_id, seconds in walls}
    seconds, _ = seconds_left(evidence.asked, took)
    return f"{text}, {running} running: come back in {duration(seconds / running)}."
