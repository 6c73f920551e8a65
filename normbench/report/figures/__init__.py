"""Figures as Vega-Lite specifications: the same one gives SVG, PNG and the interactive page.

One file a figure; `registry.py` lists them in the order of the report. What a figure draws lies in fields with safe
names (`factor`, `axis0`, ...), since Vega-Lite reads dots, brackets and colons in a field's name.
"""

from normbench.report.figures.registry import (
    BY_AXIS,
    BY_METRIC,
    FIGURES,
    Drawn,
    drawn_by,
    drawn_figures,
    each_figure,
    specifications,
)

__all__ = ["BY_AXIS", "BY_METRIC", "FIGURES", "Drawn", "drawn_by", "drawn_figures", "each_figure", "specifications"]
