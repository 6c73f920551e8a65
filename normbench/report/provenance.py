"""What the runs were made with: every distinct value of each fact, over all of them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pandas as pd

from normbench.privacy import without_places

if TYPE_CHECKING:
    from normbench.report.evidence import Evidence

MOST_VALUES = 12  # distinct values of a fact that are listed


def code_notes(runs: pd.DataFrame) -> list[str]:
    """Sentences about code: more than one version of it, or states that no commit holds. Empty for one clean version.

    The digest of the computing modules decides where it is known; else the commit does.
    """
    digests, commits = _distinct(runs, "code_digest"), _distinct(runs, "commit")
    notes = []
    if len(digests) > 1:
        notes.append(f"The runs come from more than one version of the code: digests {', '.join(digests)}.")
    elif not digests and len(commits) > 1:
        notes.append(f"The runs come from more than one version of the code: commits {', '.join(commits)}.")
    elif digests and runs["code_digest"].isna().any():
        notes.append("Some runs do not say by which version of the code they were computed.")
    for dirty in (name for name in commits if name.endswith(("+", "-dirty"))):
        of, commit = runs[runs["commit"] == dirty], dirty.rstrip("+").removesuffix("-dirty")
        if set(of["code_digest"]) <= set(runs.loc[runs["commit"] == commit, "code_digest"].dropna()):
            continue  # what was changed is none of the code: runs of the commit itself have the same digest
        states = of["code_digest"].nunique()
        text = f"{of['run_id'].nunique()} runs come from uncommitted changes of commit {commit[:12]}"
        notes.append(text + (f", in {states} different states." if states > 1 else "."))
    return notes


def _distinct(runs: pd.DataFrame, column: str) -> list[str]:
    return sorted(map(str, runs[column].dropna().unique())) if column in runs else []


def environments(evidence: Evidence) -> list[tuple[str, str]]:
    """What the runs were made with, from all of them: fact and its distinct values, the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    ids = evidence.runs["run_id"].unique()
    origins = evidence.store.origins(ids)
    # Few distinct ones: each is read, and places are taken out of it, once.
    for text, runs in Counter(origins[run_id] for run_id in ids if run_id in origins).items():
        origin = json.loads(text)
        facts = dict(origin["environment"])
        facts["MD5 of the data files"] = ", ".join(f"{name} {value}" for name, value in origin["md5"].items())
        found.update({(key, json.dumps(value)): runs for key, value in facts.items()})
    seen: dict[str, dict[str, int]] = {}
    for (key, text), count in found.items():
        for name, value in without_places({key: json.loads(text)}).items():
            if value not in (None, ""):
                counts = seen.setdefault(name, {})
                counts[str(value)] = counts.get(str(value), 0) + count
    return [(key, _listed(counts)) for key, counts in seen.items()]


def _listed(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    order = sorted(counts, key=lambda value: (-counts[value], value))
    named = [f"{value} ({counts[value]} run{'s' * (counts[value] != 1)})" for value in order[:MOST_VALUES]]
    return "; ".join(named) + (f"; {len(order) - MOST_VALUES} others" if len(order) > MOST_VALUES else "")
