"""Tables as CSV, which no spreadsheet executes, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from normbench.report.comparison import FACTS
from normbench.report.evidence import Evidence
from normbench.report.tables.comparison import row_name
from normbench.stats.estimates import ESTIMATE_COLUMNS

SUMMARY = ("n", "n_used", "mean", "sd", "ci_low", "ci_high", "method", "median", "min", "max", "diverged")
CONTRAST = ("kind", "family_name")  # of a contrast; `family` is the family's size
SIDES = ("treatment", "baseline")
LOOK = ("look", "interim")  # of a study with planned looks

ESTIMATE = ["contrast", *ESTIMATE_COLUMNS[2:], "error_ratio"]
COUNTS = ("pairs", "left_out", "family", *(f"{what}_{side}" for what in ("runs", "diverged") for side in SIDES))

# A spreadsheet takes text that starts so for a formula. An apostrophe in front makes it text; text that already has
# apostrophes there gets one more, so that reading takes off exactly what was put on.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED = re.compile(r"'+[=+\-@\t\r]")


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _plain(value: Any) -> Any:
    return value[1:] if isinstance(value, str) and _QUOTED.match(value) else value


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV; text that a spreadsheet would execute is quoted by an apostrophe, in headings too."""
    return _mapped(frame, _safe).to_csv(index=False)


def read_csv(source: Path | str) -> pd.DataFrame:
    """What `csv_text` wrote, from its file or its text. A label may be "None" or "nan": only empty is missing."""
    file: Any = StringIO(source) if isinstance(source, str) else source
    return _mapped(pd.read_csv(file, keep_default_na=False, na_values=[""]), _plain)


def _mapped(frame: pd.DataFrame, change: Any) -> pd.DataFrame:
    columns = {}
    for place, name in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(object)
        if values.dtype == object or (
            pd.api.types.is_string_dtype(values.dtype)
            and any(change(text) != text for text in values.dropna().unique())
        ):
            values = values.map(change)  # of text that stays as it is, a new array would take longer than the check
        columns[change(name)] = values
    return pd.DataFrame(columns, index=frame.index)


def tidy(evidence: Evidence) -> pd.DataFrame:
    """comparison.csv: a row for each metric and cell, with the difference from the baseline and its verdict."""
    estimate = [name for name in ESTIMATE if name not in ("along", "treatment")]
    tuned = [evidence.tuned] if evidence.tuned else []
    columns = [*evidence.keys, "metric", *SUMMARY, *FACTS, *tuned, "mark", *CONTRAST, *estimate, *LOOK]
    first = evidence.contrasts[0]
    whole = evidence.comparison.assign(kind=first.kind, family_name=first.family)
    if "contrast" in whole:  # which may be one that compares the same levels on cells that the first leaves out
        families = {contrast.name: contrast.family for contrast in evidence.contrasts}
        whole["family_name"] = whole["contrast"].map(families)
        whole["kind"] = whole["kind"].where(whole["contrast"].notna())
    return _whole(whole.reindex(columns=[name for name in columns if name in whole or name not in LOOK]), COUNTS)


def _whole(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The frame with whole numbers in these columns: one row without any would make 32 to 32.0 in all others."""
    return frame.astype({name: "Int64" for name in columns if name in frame})


def contrasts_csv(evidence: Evidence) -> pd.DataFrame:
    """contrasts.csv: every row of every contrast in the study's metric; the cell as text, since cells differ."""
    frames = []
    for contrast, table in zip(evidence.contrasts, evidence.estimates, strict=True):
        names = [row_name(evidence, contrast, row) for row in table.to_dict("records")]
        told = table.assign(row=names, kind=contrast.kind, family_name=contrast.family)
        look = [name for name in LOOK if name in told]
        frames.append(told[["contrast", *CONTRAST, "row", *ESTIMATE[1:], *look]])
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def paired_seeds(evidence: Evidence) -> pd.DataFrame:
    """pairs.csv: the raw differences, a row for each contrast's row and seed, in the study's metric."""
    frames = []
    for contrast in evidence.contrasts:
        found = evidence.differences(contrast, evidence.metric).drop(columns=["id", "block"])
        frames.append(found)
    whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    axes = [axis for axis in dict.fromkeys([*evidence.across, evidence.factor]) if axis in whole]
    whole = _whole(whole, [axis for axis in axes if pd.api.types.is_integer_dtype(evidence.chosen[axis])])
    states = ["treatment_state", "baseline_state"]
    return whole[["contrast", "along", *axes, "treatment", "baseline", "seed", "diff", *states]]
