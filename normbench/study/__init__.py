"""A study: a YAML file that becomes a plan of runs.

file.py       what is written
compare.py    what it compares with what
looks.py      its seeds, and when they are looked at
smaller.py    a smaller one made from it
rates.py      learning rates that a pilot chose
largest.py    the largest learning rate that still trains
referee.py    the two studies that judge a norm
plan.py       the runs that it comes to
stand_in.py   the plan that there are runs of, where the embedded digits can stand in for mnist
estimate.py   how long they take
cost.py       what they cost, measured cell by cell in turns
latency.py    what their networks take to answer, measured in turns
metrics.py    what a reader needs to know of a metric
"""

from normbench.study.compare import Compare, Contrast
from normbench.study.estimate import Measured, estimate, seconds_left
from normbench.study.file import Level, Skip, Study, load_study
from normbench.study.looks import LookPlan
from normbench.study.plan import Plan, PlannedRun, describe, iter_pending, make_plan
from normbench.study.rates import Rates
from normbench.study.smaller import changed_study
from normbench.study.stand_in import fullest, next_plan, possible_plans, stored_plan

__all__ = [
    "Compare",
    "Contrast",
    "Level",
    "LookPlan",
    "Measured",
    "Plan",
    "PlannedRun",
    "Rates",
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
    "stored_plan",
]
