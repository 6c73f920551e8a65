"""How a metric's numbers are shown."""

import numpy as np
import pytest

from normbench.study.metrics import get_metric


@pytest.mark.parametrize("images", [1, 15, 39, 981, 4905])
def test_counted_and_single_precision_accuracies_come_to_one_text(images: int) -> None:
    """Half-way between two hundredths of a point: two seeds of 10,000 images differ by `images` in sum."""
    metric = get_metric("test_accuracy")
    counted = images / 20_000
    stored = float(np.float32(0.5734 + counted)) - float(np.float32(0.5734))
    assert stored != counted
    assert metric.shown_number(stored) == metric.shown_number(counted)
    assert metric.shown(stored) == metric.shown(counted)
