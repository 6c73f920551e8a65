"""The four promised benefits of batch norm (claims P1 to P4): what their studies share.

A benefit is promised without a condition. So each is asked of three networks under two conditions, every combination
is a part of the criterion, and the claim's page tells where it holds and where it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from normbench.findings.evidence import Cell, values
from normbench.findings.finding import Quantity

if TYPE_CHECKING:
    import pandas as pd

    from normbench.report import Evidence

NETWORKS = ("digit CNN", "deep plain CNN", "strided CNN")
GUESSING = 0.1  # accuracy of a run that diverged: ten classes, and nothing learnt
TEXT = "The founding text (the blog post that normbench started from)"


def accuracies(evidence: Evidence, cell: Cell) -> list[float]:
    """Test accuracy, seed by seed; a diverged run counts as guessing."""
    return values(evidence, cell, diverged=GUESSING)


def spared(evidence: Evidence, start: Cell, stop: Cell) -> Quantity:
    """What no norm loses from one cell to another, less what batch norm loses, paired by seed.

    A mean over seeds with its own 95 % interval. Cells of networks that do not train at all hardly spread while others
    do, so an error that cells share, as a study's contrasts have with few seeds, would fit none of them.
    """

    def losses(norm: str) -> Iterable[float]:
        before, after = (accuracies(evidence, {**cell, "model.norm": norm}) for cell in (start, stop))
        return (old - new for old, new in zip(before, after, strict=True))

    return Quantity.over_seeds([none - batch for none, batch in zip(losses("none"), losses("batch"), strict=True)])


def means(evidence: Evidence, cells: Mapping[tuple[Any, ...], Cell], names: tuple[str, ...]) -> pd.DataFrame:
    """Mean test accuracy of each cell: `names`, which the keys of the cells fill, and "test accuracy"."""
    import pandas as pd

    rows = []
    for key, cell in cells.items():
        found = accuracies(evidence, cell)
        rows.append((*key, sum(found) / len(found)))
    return pd.DataFrame(rows, columns=[*names, "test accuracy"])
