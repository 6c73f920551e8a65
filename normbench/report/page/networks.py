"""What the trained networks look for and make of one image, where a study kept their weights (`trainer.keep`)."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from normbench.errors import NormbenchError
from normbench.report.evidence import Evidence
from normbench.report.maps import filter_figure, map_figure
from normbench.store import RunFolder

MOST_NETWORKS = 12  # that are loaded for a page
MOST_BYTES = 800_000  # of all their figures: the page stays below 5 MB
MOST_LAYERS, MOST_TILES, COLUMNS = 6, 16, 8  # of one network's maps, of a layer's, and in a row


@dataclass(frozen=True)
class Drawn:
    """Two figures of one network as SVG: filters of its first layer, and feature maps; "" for one that it has not."""

    filters: str
    maps: str


def networks(evidence: Evidence) -> str:
    """Filters and feature maps of the first seed of each level in each cell, as HTML; empty without weights."""
    kept = list(_kept(evidence))
    cells: dict[str, list[tuple[str, Drawn]]] = {}
    size = shown = 0
    for row, run in kept[:MOST_NETWORKS]:
        level = f"{evidence.level_name(row[evidence.factor])}, seed {row['seed']}"
        drawn = _drawn(run.path, run.weights_path.stat().st_mtime_ns, level, evidence.maps_of)
        size += len(drawn.filters) + len(drawn.maps)
        if size > MOST_BYTES:
            break
        shown += 1
        if drawn.filters:
            cells.setdefault(evidence.cell_name(row), []).append((level, drawn))
    if not cells:
        return ""
    left = f" The first {shown} of {len(kept)} networks are shown." if shown < len(kept) else ""
    image = "the first test image" + ("" if evidence.maps_of is None else f" of class {evidence.maps_of}")
    note = (
        f"The first layer's filters, and what the layers make of {image}: of each level the first seed "
        "whose weights were kept, drawn as <code>normbench inspect RUN --filters --maps CLASS</code> draws any run. "
        "Levels of one seed start from the same weights, so that equal places can be compared; another seed has other "
        f"filters in another order. A look inside, no evidence.{left}"
    )
    parts = [f'<p class="hint">{note}</p>']
    for name, found in cells.items():
        parts += [f"<h3>{html.escape(name)}</h3>" if name else "", _filters(found), _maps(found)]
    return "".join(parts)


def _kept(evidence: Evidence) -> Iterator[tuple[dict[str, Any], RunFolder]]:
    """Of each level in each cell the first seed that did not diverge and has weights, in the order of the tables."""
    runs = evidence.chosen
    if runs.empty:
        return
    runs = runs[runs["diverged_at_step"].isna()].sort_values("seed", kind="stable")
    seen = set()
    for row in evidence.in_order(runs[[*evidence.keys, "seed", "run_id"]]).to_dict("records"):
        place = tuple(row[key] for key in evidence.keys)
        folder = evidence.store.folder(row["run_id"])
        if place not in seen and folder.weights_path.is_file():
            seen.add(place)
            yield {str(key): value for key, value in row.items()}, folder


@lru_cache(maxsize=MOST_NETWORKS)  # a report that is watched is written again and again
def _drawn(path: Path, changed: int, level: str, label: int | None) -> Drawn:
    """The figures of a run's weights as they were written at `changed`, of the first test image or that of a class."""
    from normbench.train.seen import filters, maps  # loads torch

    run = RunFolder(path)
    try:
        found = filters(run)
    except (NormbenchError, OSError):  # a network of linear layers, or weights that cannot be read
        return Drawn("", "")
    if not np.isfinite(found.weights).all():
        return Drawn("", "")
    first = filter_figure(f"{level}: {found.layer}", found.weights, MOST_TILES, COLUMNS)
    try:
        seen = maps(run, label)
    except (NormbenchError, OSError):  # no maps, or the images are not on this machine
        return Drawn(first, "")
    some = _spread(seen.layers)
    title = f"{level}: test image {seen.number} of class {seen.label}, taken for {seen.predicted}"
    if len(some) < len(seen.layers):
        title += f"; {len(some)} of {len(seen.layers)} layers"
    return Drawn(first, map_figure(title, seen.image, some, MOST_TILES, COLUMNS))


def _spread(layers: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """At most MOST_LAYERS of them, the first and the last among them."""
    places = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), MOST_LAYERS)).round().astype(int))
    return [layers[place] for place in places]


def _filters(found: Sequence[tuple[str, Drawn]]) -> str:
    return f'<div class="networks">{"".join(drawn.filters for _, drawn in found)}</div>'


def _maps(found: Sequence[tuple[str, Drawn]]) -> str:
    return "".join(
        f'<details><summary>Feature maps of {html.escape(level)}</summary><div class="networks">{drawn.maps}</div>'
        "</details>"
        for level, drawn in found
        if drawn.maps
    )
