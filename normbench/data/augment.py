"""Random crops and flips of whole batches, decided by (seed, epoch, image) alone: the same for every norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from normbench.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

Augment = Literal["none", "crop", "flip", "crop_flip"]
PART = 8  # a crop is moved by up to this part of the side: 4 pixels of 32, as in He et al. 2016, section 4.2


def draws(seed: int, epoch: int, count: int) -> Tensor:
    """Numbers that decide what becomes of each of `count` images in an epoch, uniform in [0, 1), (count, 3)."""
    import torch

    return torch.rand((count, 3), generator=generator(seed, "augment", epoch))


def augmented(pixels: Tensor, numbers: Tensor, how: Augment) -> Tensor:
    """Images with a crop of their zero-padded selves, and half of them flipped from left to right.

    Args:
        pixels: (n, C, H, W), of any type.
        numbers: The rows of `draws` that belong to these images, (n, 3).
        how: crop, flip, or both; none leaves the images.

    Example:
        >>> import torch
        >>> x = torch.arange(8).view(1, 1, 1, 8)
        >>> augmented(x, torch.tensor([[0.5, 0.99, 0.1]]), "crop_flip").flatten().tolist()
        [0, 7, 6, 5, 4, 3, 2, 1]
    """
    import torch

    if how == "none":
        return pixels
    count, channels, height, width = pixels.shape
    numbers = numbers.to(pixels.device)
    rows = torch.arange(height, device=pixels.device).repeat(count, 1)
    columns = torch.arange(width, device=pixels.device).repeat(count, 1)
    if how != "crop":
        flipped = numbers[:, 2] < 0.5
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    if how != "flip":
        down, across = height // PART, width // PART
        rows += (numbers[:, 0] * (2 * down + 1)).long()[:, None]
        columns += (numbers[:, 1] * (2 * across + 1)).long()[:, None]
        pixels = torch.nn.functional.pad(pixels, (across, across, down, down))
    images = torch.arange(count, device=pixels.device)
    planes = torch.arange(channels, device=pixels.device)
    return pixels[
        images[:, None, None, None], planes[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]
