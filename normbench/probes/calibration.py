"""The probe `calibration`: whether the network is as sure as it is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.values import Count, Number

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@register_probe("calibration")
class Calibration(Probe):
    """Expected calibration error, NLL, confidence and accuracy on validation images, as every evaluation has them.

    Confidence is the largest of the probabilities that the network gives an image. `bins` bins of equal width divide
    0 to 1, each with its upper end; calibration_error is the mean over images of |accuracy - confidence| of the bin
    of each (Guo et al. 2017, arXiv 1706.04599). confidence and accuracy are means, and fractions; nll is in nats.
    Arrays of one number a bin make a reliability diagram: bin_share of the images, bin_confidence and bin_accuracy,
    NaN where a bin is empty. All is NaN where a logit is not finite.

    Running averages are used. Cost: a forward pass of `images` images; memory: the activations of 500 at most.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead; 0 is before the first.
        images: Validation images.
        bins: Bins of confidence; test_calibration_error has 15.
    """

    wants_held_out: ClassVar[bool] = True

    def __init__(self, *, times: Count = 10, at: Sequence[Number] = (), images: Count = 1000, bins: Count = 15) -> None:
        super().__init__(times=times, at=at)
        self.images, self.bins = images, bins

    def measure(self, moment: Moment) -> Measurement:
        import torch
        from torch.nn import functional as F

        from normbench.probes import watching

        images, labels = moment.held_out(self.images)
        net = moment.net.eval()
        with torch.no_grad():
            logits = watching.precise(torch.cat([net(part) for part in images.split(watching.EVALUATED)]))
        confidence, answers = logits.softmax(-1).max(-1)
        right = (answers == labels).to(confidence)
        whole = 1.0 if bool(logits.isfinite().all()) else math.nan
        table = reliability(confidence, right, self.bins)
        gaps = abs(table["bin_accuracy"] - table["bin_confidence"])
        scalars = {
            "calibration_error": float((table["bin_share"] * gaps)[table["bin_share"] > 0].sum()),
            "nll": float(F.cross_entropy(logits, labels)),
            "confidence": float(confidence.mean()),
            "accuracy": float(right.mean()),
        }
        return Measurement(
            {name: whole * value for name, value in scalars.items()},
            {name: whole * values for name, values in table.items()},
        )


def reliability(confidence: Tensor, right: Tensor, bins: int) -> dict[str, np.ndarray[Any, Any]]:
    """Share of the images, mean confidence and mean accuracy in each bin, each (bins,).

    Args:
        confidence: From 0 to 1, (N,).
        right: 1 for a right answer, else 0, (N,).
        bins: Bins of equal width; one has its upper end, and not its lower.
    """
    import numpy as np

    sure, good = confidence.cpu().numpy(), right.cpu().numpy()
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], sure, side="left")
    counts, sums, hits = (np.bincount(place, weights, minlength=bins) for weights in (None, sure, good))
    with np.errstate(invalid="ignore"):
        return {"bin_share": counts / len(sure), "bin_confidence": sums / counts, "bin_accuracy": hits / counts}
