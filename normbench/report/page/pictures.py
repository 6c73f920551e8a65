"""The test images that one level gets right and the baseline wrong, or the other way round, as pictures."""

from __future__ import annotations

import base64
import dataclasses
import html
import struct
import zlib
from typing import Any

import numpy as np
import pandas as pd

from normbench.data.registry import read
from normbench.errors import NormbenchError
from normbench.report.evidence import Evidence
from normbench.report.images import Pair, image_pairs
from normbench.stats.images import disputed_images

MOST_PAIRS = 24  # pairs that are shown, in the order of the tables
MOST_EACH = 8  # images of each side of a pair
Pixels = np.ndarray[Any, Any]


def pictures(evidence: Evidence) -> str:
    """The pictures of every pair as HTML; empty without predictions, or where the images are not on this machine."""
    parts = []
    pairs = image_pairs(evidence)
    for pair in pairs[:MOST_PAIRS]:
        test = _test_images(evidence, pair)
        if test is not None:
            parts.append(_of_pair(evidence, pair, *test))
    if not parts:
        return ""
    left = f" The first {MOST_PAIRS} of {len(pairs)} pairs are shown." if len(pairs) > MOST_PAIRS else ""
    note = (
        "Images that one side gets right and the other wrong, those on which the most seeds agree first: the true "
        "class, then what each side says in most seeds, and in how many of them one side alone is right less those in "
        f"which the other is. Chosen to show what differs: a few images are no evidence of which side is better.{left}"
    )
    return f'<p class="hint">{note}</p>' + "".join(parts)


def _test_images(evidence: Evidence, pair: Pair) -> tuple[Pixels, Pixels] | None:
    """Test images, uint8 (N, H, W) or (N, C, H, W), and their labels; None where this machine has not the same."""
    run = next((run for run in evidence.plan.runs if run.id == pair.run_id), None)
    config = (run or evidence.plan.runs[0]).config.data
    dataset = str(evidence.runs.loc[evidence.runs["run_id"] == pair.run_id, "dataset"].iloc[0])
    if dataset != config.name:
        config = dataclasses.replace(config, name=dataset, options={})
    try:
        pixels, labels = read(config).test
    except (NormbenchError, OSError):
        return None
    said = pair.treatment
    if len(labels) != said.classes.shape[1] or ((said.classes[0] == labels) != said.correct[0]).any():
        return None
    return pixels, labels


def _of_pair(evidence: Evidence, pair: Pair, pixels: Pixels, labels: Pixels) -> str:
    level, baseline = evidence.level_name(pair.row[evidence.factor]), evidence.level_name(evidence.baseline)
    disputed = disputed_images(pair.treatment.correct, pair.baseline.correct)
    sides = []
    for right, wrong, sign in ((level, baseline, 1), (baseline, level, -1)):
        found = disputed[disputed["balance"] * sign > 0]
        shown = "".join(_picture(evidence, pair, pixels, labels, row) for _, row in found.head(MOST_EACH).iterrows())
        count = f"{len(found):,} image{'s' * (len(found) != 1)}"
        text = html.escape(f"{right} right, {wrong} wrong in more seeds: {count}")
        sides.append(f'<h4>{text}</h4><div class="pictures">{shown}</div>')
    name = html.escape(f"{evidence.row_name(pair.row)} beside {baseline}")
    return f"<details><summary>{name}</summary>{''.join(sides)}</details>"


def _picture(evidence: Evidence, pair: Pair, pixels: Pixels, labels: Pixels, row: pd.Series) -> str:
    index, seeds = int(row["image"]), len(pair.seeds)
    level, baseline = evidence.level_name(pair.row[evidence.factor]), evidence.level_name(evidence.baseline)
    says = [
        f"{name} {_most(side.classes[:, index])}" for name, side in ((level, pair.treatment), (baseline, pair.baseline))
    ]
    lines = [f"true {int(labels[index])}", *says, f"{abs(int(row['balance']))} of {seeds} seeds"]
    source = base64.b64encode(png(pixels[index])).decode()
    alt = html.escape(f"test image {index}: {', '.join(lines)}", quote=True)
    caption = "<br>".join(html.escape(line) for line in lines)
    return (
        f'<figure><img src="data:image/png;base64,{source}" alt="{alt}" title="test image {index}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _most(classes: Pixels) -> int:
    return int(np.bincount(classes).argmax())


def png(pixels: Pixels) -> bytes:
    """A picture of uint8 pixels (H, W) or (C, H, W): grey of one channel, colours of three, else the first one."""
    image = pixels if pixels.ndim == 2 else pixels[0] if len(pixels) != 3 else np.moveaxis(pixels, 0, -1)
    height, width = image.shape[:2]
    colour = 2 if image.ndim == 3 else 0
    rows = image.reshape(height, -1)
    raw = np.concatenate(
        [np.zeros((height, 1), dtype=np.uint8), rows], axis=1
    ).tobytes()  # a row begins with its filter
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
