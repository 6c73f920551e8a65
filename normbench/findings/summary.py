"""One figure of all claims: their ids as tiles under the word of their verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Tiles of claims that were not run are white, so that colour says "put to the test"; the heading says the verdict.
COLORS = {"reproduced": "#007a55", "contradicted": "#b34500", "open": "#0a62a8", "not run": "#ffffff"}
PER_LINE, TILE, GAP, HEAD = 10, (34, 20), 3, 22  # tiles a line; pixels: a page of 390 shows them without scaling


def summary_svg(verdicts: Mapping[str, str]) -> str:
    """The figure as SVG.

    Args:
        verdicts: Of each claim's id, in order: a key of COLORS.
    """
    import vl_convert

    from normbench.report.figures.style import specification

    svg: str = vl_convert.vegalite_to_svg(specification(_chart(verdicts)))
    return svg


def _chart(verdicts: Mapping[str, str]) -> Any:
    import altair as alt
    import pandas as pd

    heads, tiles, top = [], [], 0
    for verdict in COLORS:
        ids = [name for name, found in verdicts.items() if found == verdict]
        if not ids:
            continue
        heads.append({"x": 0, "y": top + HEAD / 2, "text": f"{verdict} ({len(ids)})"})
        top += HEAD
        for place, name in enumerate(ids):
            line, column = divmod(place, PER_LINE)
            x, y = column * (TILE[0] + GAP), top + line * (TILE[1] + GAP)
            tiles.append({"x": x, "x2": x + TILE[0], "y": y, "y2": y + TILE[1], "text": name, "verdict": verdict})
        top += -(-len(ids) // PER_LINE) * (TILE[1] + GAP)
    width = PER_LINE * (TILE[0] + GAP) - GAP
    frame = pd.DataFrame(tiles).assign(told=lambda f: f["text"] + ": " + f["verdict"])
    frame = frame.assign(middle_x=(frame["x"] + frame["x2"]) / 2, middle_y=(frame["y"] + frame["y2"]) / 2)
    x_scale, y_scale = alt.Scale(domain=[0, width], nice=False), alt.Scale(domain=[top, 0], nice=False)

    def across(field: str) -> Any:
        return alt.X(f"{field}:Q", scale=x_scale, axis=None)

    def down(field: str) -> Any:
        return alt.Y(f"{field}:Q", scale=y_scale, axis=None)

    fill = alt.Color("verdict:N", scale=alt.Scale(domain=list(COLORS), range=list(COLORS.values())), legend=None)
    text = alt.when(alt.datum.verdict == "not run").then(alt.value("#444444")).otherwise(alt.value("#ffffff"))
    layers = [
        alt.Chart(frame)
        .mark_rect(stroke="#777777", strokeWidth=0.8)
        .encode(x=across("x"), x2="x2:Q", y=down("y"), y2="y2:Q", fill=fill, description="told:N"),
        alt.Chart(frame)
        .mark_text(fontSize=12, aria=False)
        .encode(x=across("middle_x"), y=down("middle_y"), text="text:N", color=text),
        alt.Chart(pd.DataFrame(heads))
        .mark_text(fontSize=12, fontWeight="bold", align="left", baseline="middle")
        .encode(x=across("x"), y=down("y"), text="text:N"),
    ]
    return alt.layer(*layers).properties(width=width, height=top, view=alt.ViewConfig(stroke=None))
