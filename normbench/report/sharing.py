"""The figure of which entries share a statistic: blocks of (C, N, positions), one a norm, as SVG and PNG.

The figure follows figure 2 of Wu & He 2018 (arXiv 1803.08494); what it shows is measured.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from normbench.norms.sharing import Index, Pattern

WIDTH, DEPTH, GAP, TOP = 150.0, 62.0, 64.0, 46.0  # of a block, its depth to the right and upwards, and what is around
SHARED, OTHER, REFERENCE = "#2f6fb0", "#eef1f4", "#c8452e"
SHADES = {"front": 0.0, "top": 0.10, "right": 0.20}  # how much darker a face is


def drawing(panels: Sequence[tuple[str, Pattern]]) -> str:
    """The figure as SVG text.

    Args:
        panels: Title of each block, perhaps with a second line after a colon, and which entries (N, C, P) share a
            statistic with which output.
    """
    height = TOP + DEPTH + WIDTH + 74
    total = GAP + len(panels) * (WIDTH + DEPTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {total:.0f} {height:.0f}" font-family="DejaVu Sans, Arial, sans-serif" font-size="13">',
        f'<rect width="{total:.0f}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    for index, (title, pattern) in enumerate(panels):
        parts += _block(GAP + index * (WIDTH + DEPTH + GAP), title, pattern)
    note = "Blue: the entries that share a statistic with the red one, measured by changing each of them by itself."
    parts.append(f'<text x="{GAP:.0f}" y="{height - 14:.0f}" fill="#444444">{note}</text></svg>')
    return "\n".join(parts)


def png(svg: str) -> bytes:
    """The figure as PNG, twice as fine."""
    import vl_convert

    return bytes(vl_convert.svg_to_png(svg, scale=2))


def _block(left: float, title: str, pattern: Pattern) -> list[str]:
    """A block whose front is the first image (channels to the right, positions upwards); images go backwards."""
    shared = pattern.shared
    images, channels, positions = shared.shape
    bottom = TOP + DEPTH + WIDTH
    across, up, back = WIDTH / channels, WIDTH / positions, DEPTH / images

    def point(c: float, p: float, n: float) -> str:
        return f"{left + c * across + n * back:.2f},{bottom - p * up - n * back:.2f}"

    def face(kind: str, entry: Index, corners: Sequence[tuple[float, float, float]]) -> str:
        reference = entry == pattern.output
        color = _darker(REFERENCE if reference else SHARED if shared[entry] else OTHER, SHADES[kind])
        outline = " ".join(point(*corner) for corner in corners)
        return f'<polygon points="{outline}" fill="{color}" stroke="#8a949e" stroke-width="0.6"/>'

    name, _, part = title.partition(": ")
    parts = [f'<text x="{left:.0f}" y="22" font-size="15" font-weight="bold">{html.escape(name)}</text>']
    if part:
        parts.append(f'<text x="{left:.0f}" y="38" fill="#444444">{html.escape(part)}</text>')
    for c in range(channels):
        for p in range(positions):
            corners = [(c, p, 0), (c + 1, p, 0), (c + 1, p + 1, 0), (c, p + 1, 0)]
            parts.append(face("front", (0, c, p), corners))
    for n in range(images):
        for c in range(channels):
            corners = [(c, positions, n), (c + 1, positions, n), (c + 1, positions, n + 1), (c, positions, n + 1)]
            parts.append(face("top", (n, c, positions - 1), corners))
        for p in range(positions):
            corners = [(channels, p, n), (channels, p + 1, n), (channels, p + 1, n + 1), (channels, p, n + 1)]
            parts.append(face("right", (n, channels - 1, p), corners))
    middle = bottom - WIDTH / 2
    parts += [
        f'<text x="{left + WIDTH / 2:.0f}" y="{bottom + 18:.0f}" text-anchor="middle">C = {channels}</text>',
        f'<text x="{left - 8:.0f}" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 {left - 8:.0f} '
        f'{middle:.0f})">H x W = {positions}</text>',
        f'<text x="{left + WIDTH + DEPTH / 2 + 8:.0f}" y="{bottom - DEPTH / 2 + 12:.0f}">N = {images}</text>',
    ]
    return parts


def _darker(color: str, share: float) -> str:
    channels = [round(int(color[at : at + 2], 16) * (1 - share)) for at in (1, 3, 5)]
    return "#" + "".join(f"{value:02x}" for value in channels)
