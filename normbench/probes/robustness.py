"""The probe `robustness`: accuracy on changed images, and on images that were changed against the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from normbench.probes.contract import Measurement, Moment, Probe, register_probe
from normbench.spec.corruptions import STRENGTHS, corruptions
from normbench.spec.values import Count, Number, Positive

if TYPE_CHECKING:
    from torch import Tensor, nn

    from normbench.spec.corruptions import Corruption

PACE = 2.5  # strengths that all steps of PGD are long together, so that each place in reach can be left and reached


@register_probe("robustness")
class Robustness(Probe):
    """Accuracy on validation images, on corrupted ones, and under the attacks FGSM and PGD; all are fractions.

    accuracy_clean is that of the images as they are; accuracy_noise and the like of each corruption (see
    `trainer.corruptions`); accuracy_corrupted the mean over these. The attacks raise the cross-entropy, each pixel
    (0 is black, 1 is white) changed by `strength` at most and cut off at 0 and 1. accuracy_fgsm: one step of that
    length along the sign of the gradient (Goodfellow et al. 2015, arXiv 1412.6572). accuracy_pgd: from a random place
    in reach, `steps` such steps of 2.5 strength / steps (Madry et al. 2018, arXiv 1706.06083); the last image counts.

    Running averages are used. Noise, directions of shifts and the random places are drawn by the run's seed, so they
    are the same for every norm and at every measurement. Cost: on `images` images, a forward pass for each number and
    `steps` + 1 forward and backward passes; memory: the activations of 500 images at most, with gradients.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead; 0 is before the first.
        images: Validation images.
        corruptions: noise, or noise=0.2, and the like; none where the list is empty.
        strength: Largest change of a pixel by an attack, of pixels from 0 to 1.
        steps: Steps of PGD.
    """

    wants_held_out: ClassVar[bool] = True

    def __init__(
        self,
        *,
        times: Count = 3,
        at: Sequence[Number] = (),
        images: Count = 500,
        corruptions: Sequence[str] = tuple(STRENGTHS),
        strength: Positive = 0.1,
        steps: Count = 20,
    ) -> None:
        super().__init__(times=times, at=at)
        self.images, self.strength, self.steps = images, strength, steps
        self.corruptions = _known(corruptions)

    def measure(self, moment: Moment) -> Measurement:
        import torch

        from normbench.data.corruptions import corrupted

        images, labels = moment.held_out(self.images)
        pixels = moment.pixels(images).clamp(0, 1)
        net, rows = moment.net.eval(), torch.arange(len(images))

        def score(changed: Tensor) -> float:
            return accuracy(net, moment.standardized(changed), labels)

        scalars = {"accuracy_clean": accuracy(net, images, labels)}
        found = {how.kind: score(corrupted(pixels, how, moment.seed, rows)) for how in self.corruptions}
        scalars |= {f"accuracy_{kind}": value for kind, value in found.items()}
        if found:
            scalars["accuracy_corrupted"] = sum(found.values()) / len(found)
        slope = climbing(net, moment.standardized, labels)
        scalars["accuracy_fgsm"] = score(attacked(pixels, pixels, slope, self.strength, self.strength, 1))
        start = (pixels + self.strength * places(pixels, moment.seed)).clamp(0, 1)
        pace = PACE * self.strength / self.steps
        scalars["accuracy_pgd"] = score(attacked(pixels, start, slope, self.strength, pace, self.steps))
        return Measurement(scalars)


def _known(texts: Sequence[str]) -> list[Corruption]:
    return corruptions(texts, "probes.robustness.corruptions")


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of right answers. An answer that is not finite is none."""
    import torch

    from normbench.probes.watching import EVALUATED

    with torch.no_grad():
        logits = torch.cat([net(part) for part in images.split(EVALUATED)])
    right = (logits.argmax(-1) == labels) & logits.isfinite().all(-1)
    return float(right.double().mean())


def climbing(net: nn.Module, standardized: Callable[[Tensor], Tensor], labels: Tensor) -> Callable[[Tensor], Tensor]:
    """A function of pixels (N, C, H, W): the gradient of the summed cross-entropy with respect to them."""
    import torch
    from torch.nn import functional as F

    from normbench.probes.watching import EVALUATED

    def gradient(pixels: Tensor) -> Tensor:
        found = []
        for part, right in zip(pixels.split(EVALUATED), labels.split(EVALUATED), strict=True):
            own = part.detach().requires_grad_(True)
            loss = F.cross_entropy(net(standardized(own)).float(), right, reduction="sum")
            found.append(torch.autograd.grad(loss, own)[0])
        return torch.cat(found)

    return gradient


def attacked(
    pixels: Tensor, start: Tensor, slope: Callable[[Tensor], Tensor], strength: float, pace: float, steps: int
) -> Tensor:
    """Pixels changed by steps of length `pace` along the sign of `slope`, by `strength` at most, within 0 and 1."""
    low, high = (pixels - strength).clamp(min=0), (pixels + strength).clamp(max=1)
    for _ in range(steps):
        start = (start + pace * slope(start).sign()).clamp(low, high)
    return start


def places(pixels: Tensor, seed: int) -> Tensor:
    """Numbers from -1 to 1, one for each pixel, drawn for each image by itself."""
    import torch

    from normbench.seeds import generator  # with torch

    shape = pixels.shape[1:]
    drawn = [torch.rand(shape, generator=generator(seed, "probe", "pgd", row)) for row in range(len(pixels))]
    return 2 * torch.stack(drawn).to(pixels) - 1
