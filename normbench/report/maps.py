"""Filters and feature maps as figures: SVG text that holds the pixels as small pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from normbench.report.page.pictures import png

Array = np.ndarray[Any, Any]
SIDE, GAP, COLUMNS, MOST = 64, 6, 16, 64  # pixels of a picture and between them, pictures of a row, and of a layer
MARGIN, HEADING = 20, 26


def filter_figure(title: str, weights: Array, most: int = MOST, columns: int = COLUMNS) -> str:
    """A picture of each filter (filters, C, H, W): one colour scale for all, zero in the middle.

    Filters of three channels are shown as colours, others as the mean over their channels, blue below zero and red
    above.

    Args:
        title: Above it.
        weights: The filters.
        most: Pictures at most.
        columns: Pictures of a row.
    """
    largest = float(np.abs(weights).max()) or 1.0
    if weights.shape[1] == 3:
        tiles = [_bytes(127.5 * (1 + one / largest)) for one in weights[:most]]
    else:
        tiles = [_signed(one.mean(0) / largest) for one in weights[:most]]
    note = (
        f"grey is 0, full colour {largest:.3g}" if weights.shape[1] == 3 else f"blue {-largest:.3g}, red {largest:.3g}"
    )
    return _figure(title, [(_heading(f"{len(weights)} filters ({note})", len(weights), most), tiles)], columns)


def map_figure(
    title: str, image: Array, layers: Sequence[tuple[str, Array]], most: int = MOST, columns: int = COLUMNS
) -> str:
    """The image, and a picture of each map (C, H, W) of each layer: from that layer's smallest value to its largest.

    Args:
        title: Above it.
        image: What goes in, (C, H, W).
        layers: Name and maps of each layer.
        most: Pictures of a layer at most.
        columns: Pictures of a row.
    """
    parts = [("what goes in", [_grey(image)])]
    for name, values in layers:
        text = f"{name}: {len(values)} maps of {values.shape[1]} x {values.shape[2]}"
        span = f", black {values.min():.3g}, white {values.max():.3g}"
        parts.append((_heading(text + span, len(values), most), [_grey(one, values) for one in values[:most]]))
    return _figure(title, parts, columns)


def _heading(text: str, count: int, most: int) -> str:
    return text if count <= most else f"{text}; the first {most}"


def _grey(pixels: Array, scale: Array | None = None) -> Array:
    """uint8 (H, W) or (3, H, W), from the smallest value of the scale to its largest."""
    within = pixels if scale is None else scale
    low, high = float(within.min()), float(within.max())
    return _bytes(255 * (pixels - low) / ((high - low) or 1.0))


def _bytes(values: Array) -> Array:
    return np.asarray(np.round(values), dtype=np.uint8)


def _signed(values: Array) -> Array:
    """uint8 (3, H, W): white at 0, red at 1, blue at -1."""
    red, blue = np.clip(1 + values, 0, 1), np.clip(1 - values, 0, 1)
    return _bytes(255 * np.stack([red, np.minimum(red, blue), blue]))


def _figure(title: str, parts: Sequence[tuple[str, Sequence[Array]]], columns: int) -> str:
    widest = max(min(columns, len(tiles)) for _, tiles in parts)
    longest = max([len(title) * 9, *(len(heading) * 7 for heading, _ in parts)])
    width = 2 * MARGIN + max(widest * (SIDE + GAP), longest)
    top, body = MARGIN + HEADING, []
    for heading, tiles in parts:
        body.append(f'<text x="{MARGIN}" y="{top + 14}" fill="#444444">{html.escape(heading)}</text>')
        top += HEADING
        for index, tile in enumerate(tiles):
            row, column = divmod(index, columns)
            body.append(_picture(tile, MARGIN + column * (SIDE + GAP), top + row * (SIDE + GAP)))
        top += -(-len(tiles) // columns) * (SIDE + GAP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + MARGIN}" '
            f'viewBox="0 0 {width} {top + MARGIN}" role="img" aria-label="{html.escape(title)}" '
            'font-family="DejaVu Sans, Arial, sans-serif" font-size="12">',
            f'<rect width="{width}" height="{top + MARGIN}" fill="#ffffff"/>',
            f'<text x="{MARGIN}" y="{MARGIN + 10}" font-size="15" font-weight="bold">{html.escape(title)}</text>',
            *body,
            "</svg>",
        ]
    )


def _picture(tile: Array, left: int, top: int) -> str:
    """A tile as a picture whose pixels are squares of whole pixels, so that no program smooths them."""
    times = max(1, 2 * SIDE // max(tile.shape[-2:]))
    source = base64.b64encode(png(tile.repeat(times, -2).repeat(times, -1))).decode()
    box = f'x="{left}" y="{top}" width="{SIDE}" height="{SIDE}"'
    frame = f'<rect {box} fill="none" stroke="#c5ccd3" stroke-width="1"/>'
    return f'<image {box} href="data:image/png;base64,{source}"/>{frame}'
