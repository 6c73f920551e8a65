"""The probe `calibration` against a reliability diagram by hand and against torchmetrics, on real digits."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error

from normbench.probes.calibration import Calibration

from .digits import moment, perceptron


@pytest.mark.parametrize("bins", [3, 15])
def test_numbers_are_those_by_hand(bins: int) -> None:
    net = perceptron(nn.BatchNorm1d)
    with torch.no_grad():
        net[4].weight *= 8  # type: ignore[operator]  # surer than right
    at = moment(net)
    found = Calibration(images=200, bins=bins).measure(at)
    images, labels = at.held_out(200)
    probabilities = net.eval()(images).detach().double().softmax(-1)
    confidence, answers = probabilities.max(-1)
    error = 0.0
    for place in range(bins):
        inside = (confidence > place / bins) & (confidence <= (place + 1) / bins)
        assert found.arrays["bin_share"][place] == pytest.approx(float(inside.double().mean()))
        if inside.any():
            right, sure = (answers == labels)[inside].double().mean(), confidence[inside].mean()
            assert found.arrays["bin_accuracy"][place] == pytest.approx(float(right))
            assert found.arrays["bin_confidence"][place] == pytest.approx(float(sure))
            error += float(inside.double().mean() * abs(right - sure))
        else:
            assert np.isnan(found.arrays["bin_accuracy"][place])
    scalars = found.scalars
    assert error > 0.1, "there is something to find"
    assert scalars["calibration_error"] == pytest.approx(error)
    theirs = multiclass_calibration_error(probabilities, labels, 10, n_bins=bins)
    assert scalars["calibration_error"] == pytest.approx(float(theirs), abs=1e-6)
    assert scalars["confidence"] == pytest.approx(float(confidence.mean()))
    assert scalars["accuracy"] == pytest.approx(float((answers == labels).double().mean()))
    nll = -probabilities[torch.arange(200), labels].log().mean()
    assert scalars["nll"] == pytest.approx(float(nll))


def test_a_logit_that_is_not_finite_gives_no_number() -> None:
    net = perceptron()
    with torch.no_grad():
        net[4].bias[0] = math.nan  # type: ignore[operator, index]
    found = Calibration(images=20).measure(moment(net))
    assert all(math.isnan(value) for value in found.scalars.values())
    assert all(np.isnan(values).all() for values in found.arrays.values())
