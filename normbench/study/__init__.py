"""A study: a YAML file that becomes a plan of runs.

file.py       what is written
smaller.py    a smaller one made from it
plan.py       the runs that it comes to
estimate.py   how long they take
cost.py       what they cost, measured cell by cell in turns
metrics.py    what a reader needs to know of a metric
"""

from normbench.study.estimate import Measured, estimate, seconds_left
from normbench.study.file import Compare, Level, Skip, Study, load_study
from normbench.study.plan import Plan, PlannedRun, describe, fullest, iter_pending, make_plan, next_plan, possible_plans
from normbench.study.smaller import changed_study

__all__ = [
    "Compare",
    "Level",
    "Measured",
    "Plan",
    "PlannedRun",
    "Skip",
    "Study",
    "changed_study",
    "describe",
    "estimate",
    "fullest",
    "iter_pending",
    "load_study",
    "make_plan",
    "next_plan",
    "possible_plans",
    "seconds_left",
]
