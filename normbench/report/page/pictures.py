"""The test images that one level gets right and the baseline wrong, or the other way round, as pictures."""

from __future__ import annotations

import base64
import dataclasses
import html
import struct
import zlib
from typing import Any

import numpy as np

from normbench.data.registry import read
from normbench.errors import NormbenchError
from normbench.report.evidence import Evidence
from normbench.report.images import Pair, image_pairs
from normbench.stats.images import disputed_images
from normbench.store.predictions import Predictions

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
        "Images that one side gets right and the other wrong in the same seed, those on which the most seeds agree "
        "first: the true class, what each side says, the wrong one in most of the seeds in which it alone is wrong, "
        "and how many these are. Chosen to show what differs: a few images are no evidence of which side is better."
        f"{left}"
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
        winner, loser = (pair.treatment, pair.baseline)[::sign]
        found = disputed.loc[disputed["balance"] * sign > 0, "image"]
        shown = "".join(
            _picture(pixels[index], int(labels[index]), index, (right, wrong), _errors(winner, loser, index), pair)
            for index in map(int, found.head(MOST_EACH))
        )
        count = f"{len(found):,} image{'s' * (len(found) != 1)}"
        text = html.escape(f"{right} right, {wrong} wrong in more seeds than the reverse: {count}")
        sides.append(f'<h4>{text}</h4><div class="pictures">{shown}</div>')
    name = html.escape(f"{evidence.row_name(pair.row)} beside {baseline}")
    return f"<details><summary>{name}</summary>{''.join(sides)}</details>"


def _errors(winner: Predictions, loser: Predictions, index: int) -> Pixels:
    """Classes that the loser gives an image in the seeds in which the winner alone is right."""
    return loser.classes[winner.correct[:, index] & ~loser.correct[:, index], index]


def _picture(image: Pixels, label: int, index: int, sides: tuple[str, str], errors: Pixels, pair: Pair) -> str:
    right, wrong = sides
    said = int(np.bincount(errors).argmax())
    lines = [f"true {label}", f"{right} {label}", f"{wrong} {said}", f"in {len(errors)} of {len(pair.seeds)} seeds"]
    source = base64.b64encode(png(image)).decode()
    alt = html.escape(f"test image {index}: {', '.join(lines)}", quote=True)
    caption = "<br>".join(html.escape(line) for line in lines)
    return (
        f'<figure><img src="data:image/png;base64,{source}" alt="{alt}" title="test image {index}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


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
