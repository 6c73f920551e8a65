"""Charts to SVG and PNG.

Run as a program it draws what it reads from its standard input, a line [NAME, CHART] each, and imports nothing else:
Vega holds the interpreter while it draws, so that a report has it drawn in a process beside.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import vl_convert

SCALE = 2  # of the PNG


def render(charts: Mapping[str, str], folder: Path) -> None:
    """Writes NAME.svg and NAME.png of each chart.

    Args:
        charts: Vega-Lite as JSON, by name.
        folder: Where to write.
    """
    for name, chart in charts.items():
        svg = vl_convert.vegalite_to_svg(json.loads(chart))  # as text, its numbers would lose their last digit
        (folder / f"{name}.svg").write_bytes(svg.encode())
        (folder / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        render(dict([json.loads(line)]), Path(sys.argv[1]))
