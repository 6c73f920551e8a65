"""A namespace for the axes of a study: each axis one column, and no column that means something else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from normbench.store.columns import RESULT_COLUMNS

# Dotted keys whose column in the results table holds just what the key sets, so that axis and column are one.
SAME = {
    "data.batch_size": "batch_size",
    "data.name": "dataset",
    "model.name": "model",
    "model.norm": "norm",
    "trainer.virtual_devices": "virtual_devices",
}
# Short names other than the last part of the key.
SHORT = {"optimizer.lr": "base_lr"}  # `lr` is the rate that trained, scaled with the batch size

# Columns of the frames that curves, statistics and tables make beside the axes. An axis of that name is told apart.
OTHERS = frozenset(
    """
    alpha area at_edge axis balance baseline baseline_state batch best candidates censored change ci_high ci_low
    complete configuration contrast cost curve detectable detectable_high detectable_low diff diff_ci_high
    diff_ci_low disagreement diverged diverged_at_step diverged_at_step_other diverged_baseline diverged_start
    diverged_treatment epoch epochs equivalent equivalent_high equivalent_low error error_term estimate
    estimates family family_seen family_size git_commit high how id identical image index kind learning_rate
    left left_out level level_0 levels low mark max mean median method metric min n n_used note only_baseline
    only_treatment other p p_adjusted p_diverged p_equivalent p_equivalent_holm p_holm pair pairs panel planned
    points pooled power r rank ratio reached reason records residual_ms rounds row run runs runs_baseline
    runs_treatment sample sd sd_diff sd_planned sd_upper se seeds seeds_high seeds_low seeds_needed select_mean
    slope slope_per_doubling slopes split state std step tied treatment treatment_state tried val value
    value_start verdict verdict_text version why worse x x2 y y2
    layer probe quantity unit
    along block degrees error_ratio margin p_diverged_adjusted plan_reason seeds_equivalent_high seeds_equivalent_low
    """.split()  # noqa: SIM905  (a list of one word a line is longer than all else here)
)

_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def axis_columns(axes: Sequence[str], reserved: Collection[str] | None = None) -> dict[str, str]:
    """The column of each axis: its short name where that is free, else the name as written, else `axis NAME`.

    Args:
        axes: Names of a study's axes, any text; each once.
        reserved: Columns with a meaning of their own; None: those of the results table and of what is made from it.

    Example:
        >>> axis_columns(["model.norm", "optimizer.lr", "budget.samples", "mean"])
        {'model.norm': 'norm', 'optimizer.lr': 'base_lr', 'budget.samples': 'budget.samples', 'mean': 'axis mean'}
    """
    if reserved is None:
        reserved = OTHERS | set(RESULT_COLUMNS)
    written = set(axes)
    short = {axis: _short(axis) for axis in axes}
    uses = Counter(short.values())
    columns: dict[str, str] = {}
    for axis in axes:
        name = short[axis]
        free = name not in reserved and uses[name] == 1 and (name == axis or name not in written)
        if SAME.get(axis) == name or free:
            columns[axis] = name
        elif axis not in reserved:
            columns[axis] = axis
    for axis in axes:
        if axis not in columns:
            name = f"axis {axis}"
            while name in columns.values() or name in reserved:
                name = f"axis {name}"
            columns[axis] = name
    return {axis: columns[axis] for axis in axes}


def _short(axis: str) -> str:
    """The last part of a dotted key; any other text as it is."""
    known: Mapping[str, str] = SAME | SHORT
    return known.get(axis) or (axis.rpartition(".")[2] if _DOTTED.fullmatch(axis) else axis)
