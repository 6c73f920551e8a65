"""Honest statistics of few, paired runs: data frames in, data frames out.

The tables of runs are tidy, one row a run: the axes of the study, `seed`, the metrics, and `diverged_at_step`
(missing where the run did not diverge). A comparison takes two steps: a contrast gives per-seed differences
(`contrasts`), and `estimates` gives each its simultaneous interval and the verdict read off it.
"""

from normbench.stats.best import mark_best
from normbench.stats.cell import Missing
from normbench.stats.contrasts import (
    Along,
    change_differences,
    change_text,
    level_differences,
    slope_differences,
    within_differences,
)
from normbench.stats.cost import cost_ratios
from normbench.stats.criterion import AskedError, Criterion, ErrorTerm, error_term
from normbench.stats.curves import cost_to_target, kaplan_meier_median, summarize_cost
from normbench.stats.differences import DIFFERENCE_COLUMNS, family_seen, family_size
from normbench.stats.divergence import exact_mcnemar, seeds_for_exact
from normbench.stats.estimates import ESTIMATE_COLUMNS, estimates
from normbench.stats.images import (
    CrossedInterval,
    crossed_interval,
    disagreement,
    disputed_images,
    mcnemar_by_seed,
)
from normbench.stats.looks import Looks, estimates_at_look, open_contrasts
from normbench.stats.power import (
    detectable_by_seeds,
    detectable_difference,
    equivalence_power,
    paired_power,
    sd_upper_limit,
    seeds_for_equivalence,
    seeds_needed,
)
from normbench.stats.slope import seed_slopes
from normbench.stats.summary import SPREAD_COLUMNS, mean_interval, summarize
from normbench.stats.tuned import chosen_runs, chosen_values
from normbench.stats.verdict import Verdict, verdict_text

# Names that an axis may not have, for a study to be refused by name before it is run.
RESERVED_NAMES = frozenset(
    [*DIFFERENCE_COLUMNS, *ESTIMATE_COLUMNS, *SPREAD_COLUMNS, "value", "diverged", "n", "n_used", "mark", "error_ratio"]
)

__all__ = [
    "RESERVED_NAMES",
    "Along",
    "AskedError",
    "Criterion",
    "CrossedInterval",
    "ErrorTerm",
    "Looks",
    "Missing",
    "Verdict",
    "change_differences",
    "change_text",
    "chosen_runs",
    "chosen_values",
    "cost_ratios",
    "cost_to_target",
    "crossed_interval",
    "detectable_by_seeds",
    "detectable_difference",
    "disagreement",
    "disputed_images",
    "equivalence_power",
    "error_term",
    "estimates",
    "estimates_at_look",
    "exact_mcnemar",
    "family_seen",
    "family_size",
    "kaplan_meier_median",
    "level_differences",
    "mark_best",
    "mcnemar_by_seed",
    "mean_interval",
    "open_contrasts",
    "paired_power",
    "sd_upper_limit",
    "seed_slopes",
    "seeds_for_equivalence",
    "seeds_for_exact",
    "seeds_needed",
    "slope_differences",
    "summarize",
    "summarize_cost",
    "verdict_text",
    "within_differences",
]
