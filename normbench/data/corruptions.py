"""Test images that are changed: contrast, brightness, noise, blur and shift, by tensor operations alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from normbench.seeds import generator

if TYPE_CHECKING:
    from torch import Tensor

    from normbench.spec.corruptions import Corruption

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # rows down, columns to the right


def corrupted(pixels: Tensor, how: Corruption, seed: int, indices: Tensor) -> Tensor:
    """Images, changed and cut off at 0 and 1.

    What is drawn is drawn by (seed, image), so that every norm of a seed sees the same images in batches of any size.

    Args:
        pixels: (n, C, H, W), from 0 to 1.
        how: Kind and strength.
        seed: Seed of the run.
        indices: Which images of the test set they are, (n,).

    Example:
        >>> import torch
        >>> from normbench.spec.corruptions import Corruption
        >>> corrupted(torch.tensor([[[[0.25, 0.75]]]]), Corruption("contrast", 0.5), 0, torch.tensor([0])).tolist()
        [[[[0.375, 0.625]]]]
    """
    strength, numbers = how.strength, indices.tolist()
    if how.kind == "contrast":
        mean = pixels.mean((1, 2, 3), keepdim=True)
        changed = mean + strength * (pixels - mean)
    elif how.kind == "brightness":
        changed = pixels + strength
    elif how.kind == "noise":
        changed = pixels + strength * _noise(pixels, seed, numbers)
    elif how.kind == "blur":
        changed = _blurred(pixels, strength)
    else:
        changed = _shifted(pixels, int(strength), seed, numbers)
    return changed.clamp(0, 1)


def _noise(pixels: Tensor, seed: int, numbers: list[int]) -> Tensor:
    """Standard normal numbers, drawn for each image by itself."""
    import torch

    shape = pixels.shape[1:]
    drawn = [torch.randn(shape, generator=generator(seed, "noise", number)) for number in numbers]
    return torch.stack(drawn).to(pixels)


def _blurred(pixels: Tensor, deviation: float) -> Tensor:
    """A Gaussian over rows, then over columns, cut off at three deviations; outside is what is at the edge."""
    import torch
    from torch.nn import functional as F

    reach = math.ceil(3 * deviation)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = (kernel / kernel.sum()).to(pixels)
    count, channels, height, width = pixels.shape
    planes = pixels.reshape(count * channels, 1, height, width)
    # One direction after the other: together their edges take the memory of images as wide and as high as the kernel.
    planes = F.conv2d(F.pad(planes, [0, 0, reach, reach], mode="replicate"), kernel.view(1, 1, -1, 1))
    planes = F.conv2d(F.pad(planes, [reach, reach, 0, 0], mode="replicate"), kernel.view(1, 1, 1, -1))
    return planes.view(count, channels, height, width)


def _shifted(pixels: Tensor, far: int, seed: int, numbers: list[int]) -> Tensor:
    """Each image moved in a direction that is drawn for it; zeros come in."""
    import torch
    from torch.nn import functional as F

    _, _, height, width = pixels.shape
    far = min(far, max(height, width))  # farther there is nothing but zeros
    padded = F.pad(pixels, [far] * 4)
    moved = []
    for place, number in enumerate(numbers):
        drawn = int(torch.randint(len(DIRECTIONS), (), generator=generator(seed, "shift", number)))
        top, left = (far - far * part for part in DIRECTIONS[drawn])
        moved.append(padded[place, :, top : top + height, left : left + width])
    return torch.stack(moved)
