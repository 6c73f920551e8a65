"""Images that a probe may ask for besides those of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from normbench.data.module import MNISTDataModule
from normbench.seeds import generator
from normbench.spec.resolve import no_held_out


class FixedSamples:
    """Images of a run's data set, always the same ones whatever its seed: see `normbench.probes.Samples`.

    Args:
        data: The data, set up.
        like: A tensor with the device and the type that the network takes.
        probe: Who asks, for errors.
    """

    def __init__(self, data: MNISTDataModule, like: Tensor, probe: str) -> None:
        self.data, self.like, self.probe = data, like, probe

    def train(self, count: int) -> tuple[Tensor, Tensor]:
        """So many training images (all at most), not augmented, and their labels."""
        return self._of("train", count)

    def held_out(self, count: int) -> tuple[Tensor, Tensor]:
        """So many validation images (all at most) and their labels."""
        if not len(self.data.split("validation")):
            raise no_held_out(self.probe)
        return self._of("validation", count)

    def pixels(self, images: Tensor) -> Tensor:
        """Images as the network takes them, as pixels: 0 is black, 1 is white."""
        mean, std = self._standard()
        return images * std + mean

    def standardized(self, pixels: Tensor) -> Tensor:
        """What `pixels` was made from."""
        mean, std = self._standard()
        return (pixels - mean) / std

    def _standard(self) -> tuple[Tensor, Tensor]:
        facts, one = self.data.dataset, self.like.new_ones(1)
        if not self.data.config.standardize:
            return 0 * one, one
        mean, std = (self.like.new_tensor(values).view(-1, 1, 1) for values in (facts.mean, facts.std))
        return mean, std

    def _of(self, split: str, count: int) -> tuple[Tensor, Tensor]:
        # Shuffled, since a file can be sorted by class; by no seed of the run, so that runs see the same images.
        images = self.data.split(split)
        order = torch.randperm(len(images), generator=generator(0, "probe", split))
        found, labels = self.data.batch(images, order[:count])
        return found.to(self.like), labels.to(self.like.device)
