"""Corrupted test images against what is computed by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from normbench.data import MNISTDataModule
from normbench.data.corruptions import corrupted
from normbench.errors import UsageError
from normbench.seeds import generator
from normbench.spec.corruptions import STRENGTHS, Corruption, corruption, corruptions

IMAGES = torch.rand(6, 3, 8, 8, generator=generator(0, "images"))
PLACES = torch.arange(6) + 10


def made(kind: str, strength: float, images: Tensor = IMAGES, places: Tensor = PLACES) -> Tensor:
    return corrupted(images, Corruption(kind, strength), 3, places)


def test_contrast_and_brightness_by_hand() -> None:
    image = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]]]])  # mean 0.4
    expected = torch.tensor([[[[0.2, 0.3], [0.4, 0.7]]]])
    torch.testing.assert_close(made("contrast", 0.5, image, PLACES[:1]), expected)
    expected = torch.tensor([[[[0.3, 0.5], [0.7, 1.0]]]])
    torch.testing.assert_close(made("brightness", 0.3, image, PLACES[:1]), expected)


def test_noise_has_its_deviation_and_is_cut_off() -> None:
    grey = torch.full((4, 1, 100, 100), 0.5)
    found = made("noise", 0.1, grey, PLACES[:4])
    assert found.std().item() == pytest.approx(0.1, rel=0.02)
    assert found.mean().item() == pytest.approx(0.5, abs=0.002)
    wild = made("noise", 5.0)
    assert (wild.min().item(), wild.max().item()) == (0, 1)


def test_blur_of_a_point_is_a_gaussian() -> None:
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 7] = 1
    found = made("blur", 1.0, point, PLACES[:1])[0, 0]
    wave = torch.tensor([2.718281828 ** (-0.5 * k * k) for k in range(-3, 4)])
    wave /= wave.sum()
    torch.testing.assert_close(found[4:11, 4:11], wave[:, None] * wave[None, :])
    flat = torch.full((1, 1, 5, 5), 0.7)
    torch.testing.assert_close(made("blur", 2.0, flat, PLACES[:1]), flat)


def test_a_shift_moves_by_that_many_pixels_in_one_of_four_directions() -> None:
    images = IMAGES[:1].repeat(40, 1, 1, 1) + 0.0
    found = made("shift", 2.0, images, torch.arange(40))
    seen = set()
    for image in found:
        for axis in (1, 2):
            for step in (2, -2):
                expected = IMAGES[0].roll(step, axis)
                edge = slice(0, 2) if step > 0 else slice(-2, None)
                expected[(slice(None), edge) if axis == 1 else (..., edge)] = 0
                if torch.equal(image, expected):
                    seen.add((axis, step))
                    break
            else:
                continue
            break
        else:
            pytest.fail("no shift by two pixels")
    assert len(seen) == 4


@pytest.mark.parametrize("kind", list(STRENGTHS))
def test_an_image_is_changed_alike_in_any_batch(kind: str) -> None:
    whole = made(kind, STRENGTHS[kind])
    assert not torch.equal(whole, IMAGES)
    parts = [made(kind, STRENGTHS[kind], IMAGES[one : one + 2], PLACES[one : one + 2]) for one in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_draws_depend_on_the_seed() -> None:
    first, other = (corrupted(IMAGES, Corruption("noise", 0.1), seed, PLACES) for seed in (0, 1))
    assert not torch.equal(first, other)


def test_the_test_images_alone_are_changed() -> None:
    data = MNISTDataModule("mnist_5k", batch_size=16, standardize=False)
    data.setup()
    loaders: list[Any] = [data.test_dataloader, data.val_dataloader]
    clean = [next(iter(loader()))[0] for loader in loaders]
    data.corruption = Corruption("brightness", 0.5)
    dark = [next(iter(loader()))[0] for loader in loaders]
    torch.testing.assert_close(dark[0], (clean[0] + 0.5).clamp(max=1))
    assert torch.equal(dark[1], clean[1])


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["nois"], "k: unknown corruption 'nois'.*did you mean"),
        (["noise=much"], "k: noise=much: the strength of noise is a number above 0"),
        (["shift=1.5"], "the strength of shift is a whole number of pixels"),
        (["contrast=2"], "a number above 0, 1 at most"),
        (["noise", "noise=0.1"], "give each kind once"),
        (["noise=0_2"], "k: noise=0_2: 0_2 can be read in two ways"),
        (["noise=1e400"], "a number above 0"),
        (["noise=true"], "a number above 0"),
    ],
)
def test_what_cannot_be_is_named(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        corruptions(texts, "k")


def test_equal_corruptions_are_written_alike() -> None:
    assert corruption("noise=0.30", "k") == corruption("noise", "k")
    assert [str(corruption(text, "k")) for text in ("blur=2.0", "noise=0.12345678")] == ["blur=2", "noise=0.12345678"]
    assert [one.kind for one in corruptions(["shift", "blur=2"], "k")] == ["blur", "shift"]


@pytest.mark.parametrize("text", ["blur=1000", "shift=1000"])
def test_a_strength_beyond_the_image_takes_no_more_memory_than_the_image(text: str) -> None:
    """A blur of 1000 took 36 GB for the 250 images of a batch."""
    asked: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            asked.append(made.numel() if isinstance(made, torch.Tensor) else 0)
            return made

    with Watch():
        changed = corrupted(torch.rand(2, 1, 28, 28), corruption(text, "k"), 0, torch.arange(2))
    assert changed.shape == (2, 1, 28, 28)
    assert max(asked) <= 2 * 28 * (28 + 6000)
    assert text != "shift=1000" or not changed.any()
