"""The test images on which a level and the baseline differ, as a Markdown table for the W&B report."""

from __future__ import annotations

from normbench.report.evidence import Evidence
from normbench.report.images import Pair, image_pairs
from normbench.report.page.pictures import MOST_EACH, MOST_PAIRS
from normbench.stats import disputed_images

NONE = "No two runs of one seed have kept their predictions."


def disputes_text(evidence: Evidence) -> str:
    """How many images each side alone gets right in more seeds than the other, and which: their places, and classes."""
    pairs = image_pairs(evidence)
    if not pairs:
        return NONE
    baseline = evidence.level_name(evidence.baseline)
    lines = [
        "Images that one side gets right and the other wrong in more seeds than the reverse: how many, and those on "
        "which the most seeds agree (place in the test set, true class in brackets). Chosen to show what differs: "
        "a few images are no evidence of which side is better. The intervals over seeds, and over seeds and images, "
        "are among the tables.",
        "",
        f"| | it alone right | {_cell(baseline)} alone right |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {_cell(evidence.row_name(pair.row))} | {_side(pair, 1)} | {_side(pair, -1)} |"
        for pair in pairs[:MOST_PAIRS]
    ]
    left = len(pairs) - MOST_PAIRS
    return "\n".join([*lines, *(["", f"{left} further pairs are left away."] if left > 0 else [])])


def _side(pair: Pair, sign: int) -> str:
    """`31: 4 (9), 112 (0)` of the images that the level (1) or the baseline (-1) alone gets right."""
    table = disputed_images(pair.treatment.correct, pair.baseline.correct)
    images = [int(image) for image in table.loc[table["balance"] * sign > 0, "image"]]
    winner = pair.treatment if sign > 0 else pair.baseline
    shown = []
    for image in images[:MOST_EACH]:
        seed = int(winner.correct[:, image].argmax())  # one in which it is right says the true class
        shown.append(f"{image} ({winner.classes[seed, image]})")
    return f"{len(images):,}" + (f": {', '.join(shown)}" if shown else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
