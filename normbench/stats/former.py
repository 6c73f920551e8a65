"""The comparison in the columns of version 0.1, until its callers ask `level_differences` and `estimates`."""

from typing import Any

import numpy as np
import pandas as pd

from normbench.stats.cell import Columns, Missing, column_names, counted_noun
from normbench.stats.contrasts import level_differences
from normbench.stats.criterion import DEFAULT_CRITERION, Criterion
from normbench.stats.differences import family_seen
from normbench.stats.estimates import estimates
from normbench.stats.verdict import verdict_text


def compare_to_baseline(
    runs: pd.DataFrame,
    metric: str,
    factor: str,
    baseline: Any,
    *,
    across: Columns = (),
    criterion: Criterion = DEFAULT_CRITERION,
    missing: Missing = "diverged",
) -> pd.DataFrame:
    """`estimates` of `level_differences`, under the names that `comparison.csv` had in version 0.1.

    `diff_ci_low`, `diff_ci_high` are the simultaneous interval, `p_holm` the p adjusted by Bonferroni that agrees
    with it, `seeds_needed` and `detectable` the upper ends of their ranges. The family is the contrasts that have a
    pair.
    """
    differences = level_differences(runs, metric, factor, baseline, across=across, missing=missing)
    table = estimates(differences, criterion, family=max(1, family_seen(differences)))
    words = [_former_verdict(row, criterion) for row in table.to_dict("records")]
    table = table.assign(
        verdict=words,
        p_equivalent=np.nan,
        p_equivalent_holm=np.nan,
        diverged=table["diverged_treatment"] + table["diverged_baseline"],
    ).rename(
        columns={
            "low": "diff_ci_low",
            "high": "diff_ci_high",
            "p_adjusted": "p_holm",
            "seeds_high": "seeds_needed",
            "detectable_high": "detectable",
            "reason": "note",
        }
    )
    return table[[*column_names(across), *FORMER_COLUMNS]]


def _former_verdict(row: dict[Any, Any], criterion: Criterion) -> str:
    word = str(row["verdict"])
    if word.endswith("than the margin"):
        return word.partition(" ")[0]
    if word in ("open", "identical"):
        return f"not distinguishable with {counted_noun(int(row['pairs']), 'seed')}"
    return verdict_text(row, f"{criterion.margin:g}" if criterion.margin else "")


FORMER_COLUMNS = [
    "treatment",
    "baseline",
    "pairs",
    "left_out",
    "diverged",
    "diff",
    "sd_diff",
    "diff_ci_low",
    "diff_ci_high",
    "p",
    "p_holm",
    "p_equivalent",
    "p_equivalent_holm",
    "margin",
    "verdict",
    "seeds_needed",
    "detectable",
    "note",
]
