"""Honest statistics of few, paired runs: data frames in, data frames out.

The tables of runs are tidy, one row a run: the axes of the study, `seed`, the metrics, and `diverged_at_step`
(missing where the run did not diverge).
"""

from normbench.stats.best import best_over, best_runs, mark_best
from normbench.stats.comparison import Criterion, compare_all_pairs, compare_to_baseline, holm
from normbench.stats.curves import area_under_curve, cost_to_target, kaplan_meier_median, summarize_cost
from normbench.stats.exact import ExactTest, seeds_for_exact, sign_flip, wilcoxon_exact
from normbench.stats.power import detectable_difference, paired_power, seeds_needed
from normbench.stats.slope import seed_slopes, slope_per_doubling
from normbench.stats.summary import mean_interval, summarize

__all__ = [
    "Criterion",
    "ExactTest",
    "area_under_curve",
    "best_over",
    "best_runs",
    "compare_all_pairs",
    "compare_to_baseline",
    "cost_to_target",
    "detectable_difference",
    "holm",
    "kaplan_meier_median",
    "mark_best",
    "mean_interval",
    "paired_power",
    "seed_slopes",
    "seeds_for_exact",
    "seeds_needed",
    "sign_flip",
    "slope_per_doubling",
    "summarize",
    "summarize_cost",
    "wilcoxon_exact",
]
