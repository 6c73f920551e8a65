"""Crops and flips: what they are, and that (seed, epoch, image) alone decides them."""

from typing import Any

import pytest
import torch
from torchvision.transforms import functional as F

from normbench.data import MNISTDataModule
from normbench.data.augment import augmented, draws
from normbench.errors import UsageError
from normbench.seeds import generator


def images(count: int = 40, side: int = 16) -> torch.Tensor:
    return torch.randint(1, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator(0, "images"))


@pytest.mark.parametrize("how", ["crop", "flip", "crop_flip"])
def test_each_image_is_a_crop_of_its_padded_self_perhaps_flipped(how: Any) -> None:
    x, numbers = images(), draws(0, 0, 40)
    seen = set()
    for image, out, (down, across, turn) in zip(x, augmented(x, numbers, how), numbers.tolist(), strict=True):
        expected, place = image, (2, 2)
        if how != "flip":
            place = int(down * 5), int(across * 5)
            expected = F.crop(F.pad(expected, [2, 2]), *place, 16, 16)
        flipped = how != "crop" and turn < 0.5
        expected = F.hflip(expected) if flipped else expected
        assert torch.equal(out, expected)
        seen.add((place, flipped))
    assert len(seen) == {"crop": 25, "flip": 2}.get(how, len(seen)) or len(seen) > 15
    assert torch.equal(augmented(x, numbers, "none"), x)


def test_draws_depend_on_seed_and_epoch() -> None:
    assert torch.equal(draws(1, 2, 50), draws(1, 2, 50))
    assert not torch.equal(draws(1, 2, 50), draws(2, 2, 50))
    assert not torch.equal(draws(1, 2, 50), draws(1, 3, 50))


def loaded(batch_size: int = 10, block: int | None = None, **changes: Any) -> tuple[torch.Tensor, MNISTDataModule]:
    """The images of an epoch in the order of the training split."""
    data = MNISTDataModule("mnist_5k", batch_size=batch_size, train_samples=100, seed=3, **changes)
    data.setup()
    data.block = None if block is None else lambda: block
    pixels = torch.cat([batch for batch, _ in data.train_dataloader()])
    order = torch.randperm(100, generator=generator(3, "order", 0))
    return pixels[order.argsort()], data


def test_the_same_images_come_in_batches_of_any_size_and_in_blocks() -> None:
    pixels, _ = loaded(augment="crop_flip")
    for changes in ({"batch_size": 4}, {"block": 3}, {"batch_size": 50, "block": 2}):
        other, _ = loaded(augment="crop_flip", **changes)
        assert torch.equal(pixels, other), changes


def test_training_images_alone_are_changed() -> None:
    plain, without = loaded()
    pixels, data = loaded(augment="crop")
    assert not torch.equal(plain, pixels)
    for name in ("val_dataloader", "test_dataloader"):
        one, other = (torch.cat([x for x, _ in getattr(module, name)()]) for module in (data, without))
        assert torch.equal(one, other)


def test_a_wrong_word_is_named() -> None:
    with pytest.raises(UsageError, match=r"data\.augment=flop: expected one of none, crop, flip, crop_flip; did you"):
        MNISTDataModule("mnist_5k", augment="flop")  # type: ignore[arg-type]
