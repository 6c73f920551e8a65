"""Published claims on normalization, each with an experiment, a criterion fixed in advance, and a computed verdict.

finding.py     what a claim is; quantities, bounds and the verdict
claims/        one file a claim
studies/       the studies of claims that need training
evidence.py    quantities from the runs of a study
benefits.py    what the four promised benefits of batch norm share
measure.py     networks and images of the direct computations
catalogue.py   all claims, their status and their cost
results.py     what was measured, as files
report.py      the table and a page for each
figures.py     what a page shows: a plot, or a study's curve beside the published one
summary.py     a figure of all
"""

from normbench.findings.catalogue import all_findings, chosen_findings, summary_line
from normbench.findings.finding import Bound, Computation, Finding, Outcome, Published, Quantity, StudyExperiment

__all__ = [
    "Bound",
    "Computation",
    "Finding",
    "Outcome",
    "Published",
    "Quantity",
    "StudyExperiment",
    "all_findings",
    "chosen_findings",
    "summary_line",
]
