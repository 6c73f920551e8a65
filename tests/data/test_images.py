"""Images: what a data set may be, and the line that refuses everything else."""

from typing import Any

import numpy as np
import pytest

from normbench.data.images import Images, checked, moments
from normbench.errors import DataError


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def images(**changes: Any) -> Images:
    """Twenty grey 5 x 7 images in three classes, and six to test on."""
    x, y, test_x, test_y = pixels(20, 5, 7), np.arange(20) % 3, pixels(6, 5, 7), np.arange(6) % 3
    given = {"x": x, "y": y, "test_x": test_x, "test_y": test_y} | changes
    return Images(train=(given["x"], given["y"]), test=(given["test_x"], given["test_y"]))


@pytest.mark.parametrize("label", [np.uint8, np.int32, np.int64, np.uint16, np.uint64, ">i4", ">u2"])
@pytest.mark.parametrize(
    ("shape", "image"), [((5, 7), (1, 5, 7)), ((1, 5, 7), (1, 5, 7)), ((3, 1, 1), (3, 1, 1)), ((4, 9, 2), (4, 9, 2))]
)
def test_any_size_and_number_of_channels(shape: tuple[int, ...], image: tuple[int, ...], label: Any) -> None:
    labels = (np.arange(20) % 3).astype(label)
    found = checked(images(x=pixels(20, *shape), y=labels, test_x=pixels(6, *shape)), "mine")
    assert found.image == image
    assert found.classes == 3
    assert found.validation == 2
    assert len(found.mean or ()) == len(found.std or ()) == image[0]


X = pixels(20, 5, 7)
Y = np.arange(20) % 3
NAN = np.full((20, 5, 7), np.nan)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "float images": (
        {"x": X / 255},
        "training: images are float64, expected uint8 .*: multiply values of 0 to 1 by 255",
    ),
    "NaN": ({"x": NAN}, "images are float64 with NaN, expected uint8"),
    "wide images": ({"x": X.astype(np.int64)}, "images are int64, expected uint8 .*: convert them"),
    "flat images": ({"x": X.reshape(20, 35)}, r"images have shape \(20, 35\), expected \(N, H, W\) or"),
    "no images": ({"x": X[:0], "y": Y[:0]}, r"images have shape \(0, 5, 7\)"),
    "channels last": ({"x": pixels(20, 5, 7, 3)}, r"\(20, 5, 7, 3\), channels last: transpose them to \(N, C, H, W\)"),
    "float labels": ({"y": Y / 1.0}, "labels are float64, expected whole numbers from 0"),
    "NaN labels": ({"y": Y * np.nan}, "labels are float64 with NaN"),
    "words": ({"y": np.array(["a"] * 20)}, "labels are <U1, expected whole"),
    "objects": ({"x": np.array([None] * 20)}, "images are object, expected uint8"),
    "mixed lengths": ({"y": Y[:19]}, r"labels have shape \(19,\), expected \(20,\): one for each image"),
    "columns": ({"y": Y[:, None]}, r"labels have shape \(20, 1\), expected \(20,\)"),
    "sizes differ": ({"test_x": pixels(6, 7, 5)}, "training images are 5 x 7 and test images 7 x 5: make them equal"),
    "negative": ({"y": Y - 1}, "training: labels range from -1 to 1, expected 0 to 1"),
    "from one": ({"y": Y + 1}, "no training image has label 0: number two or more classes from 0 without gaps"),
    "label of a pixel": ({"y": Y * 10**9}, "labels up to 2,000,000,000 for 20 training images: number two or more"),
    "above all": ({"y": (Y * 2**62).astype(np.uint64)}, "labels up to 9,223,372,036,854,775,808: number two or more"),
    "a gap": ({"y": Y * 2}, "no training image has label 1, 3: number"),
    "one class": ({"y": Y * 0, "test_y": np.zeros(6, int)}, "all training images have label 0: number two or more"),
    "unknown test label": ({"test_y": np.arange(6) % 4}, "test: labels range from 0 to 3, expected 0 to 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_by_name(case: str) -> None:
    changes, said = REFUSED[case]
    with pytest.raises(DataError, match=f"mine.*{said}") as caught:
        checked(images(**changes), "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 3, (1, 2), {"x": 1}])
def test_a_builder_returns_images(wrong: Any) -> None:
    with pytest.raises(DataError, match=r"data set mine returns .*: return normbench.data.Images\(train, test\)"):
        checked(wrong, "mine")
    with pytest.raises(DataError, match="mine, test: expected a pair"):
        checked(Images((X, Y), wrong if not isinstance(wrong, tuple) else (1, 2, 3)), "mine")  # type: ignore[arg-type]


def test_moments_are_those_of_each_channel() -> None:
    x = pixels(5000, 3, 2, 4)
    x[:, 2] = 7
    mean, std = moments(x)
    assert mean == pytest.approx((x / 255).mean(axis=(0, 2, 3)))
    assert std[:2] == pytest.approx((x / 255).std(axis=(0, 2, 3))[:2])
    assert std[2] == 1, "a channel that never changes becomes 0, not NaN"
    assert moments(x[:, 0])[0] == mean[:1]


def test_the_digest_follows_the_content_alone() -> None:
    digest = images().digest
    assert digest == images(y=Y.astype(np.uint8)).digest, "whatever type the labels have"
    assert digest == images(x=np.asfortranarray(X)).digest, "however the array lies in memory"
    changed = X.copy()
    changed[0, 0, 0] ^= 1
    others = [images(x=changed), images(y=Y[::-1]), images(test_y=np.zeros(6, int)), images(x=X[:, None])]
    assert len({digest, *(other.digest for other in others)}) == 5
