"""Folders and zips of class folders."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from normbench.data import MNISTDataModule, dataset_facts
from normbench.data.folder import cifar10_jpeg, found_path, read_folder
from normbench.data.images import DataWarning, Images, repeated_images
from normbench.data.kept import FOLDER
from normbench.errors import DataError
from normbench.spec.schema import DataConfig

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def picture(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 2 * value % 256, 7)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with ten training and five test images each."""
    root = tmp_path / "pets"
    for part, count, start in (("train", 10, 0), ("test", 5, 100)):
        for number in range(count):
            picture(root / part / "cat" / f"{number}.png", start + number)
            picture(root / part / "dog" / f"{number}.bmp", start + 50 + number)
    return root


def zipped(root: Path, above: str = "") -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, f"{above}{file.relative_to(root).as_posix()}")
    return path


def test_a_folder_and_a_zip_of_it_give_the_same_images(folder: Path) -> None:
    found = read_folder(folder, 0.2)
    assert found.image == (3, 4, 6)
    assert found.train[1].tolist() == [0] * 10 + [1] * 10
    assert found.test[1].tolist() == [0] * 5 + [1] * 5
    assert found.train[0][3, :, 0, 0].tolist() == [3, 6, 7]
    for path in (zipped(folder), zipped(folder, "pets-main/")):
        assert read_folder(path, 0.2).digest == found.digest


def test_without_train_and_test_a_stated_share_is_kept(folder: Path) -> None:
    found = read_folder(folder / "train", 0.2)
    assert np.bincount(found.train[1]).tolist() == [8, 8]
    assert np.bincount(found.test[1]).tolist() == [2, 2]
    assert not repeated_images(found)
    with pytest.raises(DataError, match=r"no folders train and test: give a data\.test_share above 0"):
        read_folder(folder / "train", 0.0)


def test_decoded_pixels_are_kept_and_follow_the_files(folder: Path, cache: Path) -> None:
    first = read_folder(folder, 0.2)
    kept = sorted((cache / "normbench" / "data" / FOLDER).iterdir())
    assert len(kept) == 1
    again = read_folder(folder, 0.2)
    assert isinstance(again.train[0], np.memmap)
    assert again.digest == first.digest
    picture(folder / "train" / "cat" / "3.png", 99)
    assert read_folder(folder, 0.2).digest != first.digest


def test_grey_images_have_one_channel_unless_one_is_in_colour(folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "grey" / "ab"[number % 2] / f"{number}.png", number, mode="L")
    assert read_folder(tmp_path / "grey", 0.5).image == (1, 4, 6)
    picture(tmp_path / "grey" / "a" / "9.png", 9)
    mixed = read_folder(tmp_path / "grey", 0.5)
    assert mixed.image == (3, 4, 6)


def test_what_is_wrong_with_a_folder_is_named(folder: Path, tmp_path: Path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(DataError, match=said):
            read_folder(folder, 0.2)

    (folder / "train" / "bird").mkdir()
    refused("class bird has no images")
    picture(folder / "train" / "bird" / "0.png", 1)
    refused("class bird is in one of train and test only")
    picture(folder / "test" / "bird" / "0.png", 2, size=(5, 4))
    refused("images of train and of test|make all images one size")
    picture(folder / "test" / "bird" / "0.png", 2)
    picture(folder / "train" / "loose.png", 3)
    refused(r"train/loose\.png is in no class")
    (folder / "train" / "loose.png").unlink()
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")
    refused(r"train/cat/0\.png is no image that can be read \(in no known format\)$")
    Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(folder / "train" / "cat" / "0.png")
    refused(r"train/cat/0\.png .*more than 8 bits \(mode I;16.*\): write them as 0 to 255")
    whole = (folder / "train" / "cat" / "1.png").read_bytes()
    (folder / "train" / "cat" / "0.png").write_bytes(whole[:33] + b"\xff" * 8 + whole[41:])  # a SyntaxError of Pillow's
    refused(r"train/cat/0\.png is no image that can be read")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images"):
        read_folder(tmp_path / "empty", 0.2)
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        read_folder(tmp_path / "text.zip", 0.2)


def test_the_path_may_be_below_the_folder_of_all_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_path("pets", DataConfig("image_folder", dir=str(folder.parent))) == folder
    monkeypatch.setenv("NORMBENCH_DATA_DIR", str(folder.parent))
    assert found_path("pets", DataConfig("image_folder")) == folder
    with pytest.raises(DataError, match=r"data\.path=cats: there is no cats and no .*cats: correct it, or data\.dir"):
        found_path("cats", DataConfig("image_folder"))


def test_a_folder_is_a_data_set(folder: Path) -> None:
    data = MNISTDataModule("image_folder", batch_size=4, path=str(folder), augment="flip")
    data.setup()
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 4, 6)
    assert data.num_classes == 2
    assert data.facts()["digest"] == dataset_facts(data.config).digest


def test_test_images_that_are_training_images_are_said(folder: Path) -> None:
    (folder / "test" / "cat" / "0.png").write_bytes((folder / "train" / "cat" / "3.png").read_bytes())
    config = DataConfig("image_folder", options={"path": str(folder)})
    with pytest.warns(DataWarning, match="1 of 10 test images are training images too"):
        dataset_facts(config)


def test_a_test_class_without_images_is_said() -> None:
    x = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    labels = np.arange(6) % 2
    images = Images((x[:4], labels[:4]), (x[4:5], labels[4:5]), classes=2)
    assert repeated_images(images) == "no test image has label 1"


@pytest.mark.parametrize(
    ("tops", "said"),
    [
        (("train", "val"), r"has a folder val beside train: name it test$"),
        (("train", "validation"), r"has a folder validation beside train: name it test$"),
        (
            ("train", "val", "test"),
            r"has a folder val beside train: move its images into train, of which data\.validation is taken$",
        ),
    ],
)
def test_splits_under_other_names_are_not_taken_for_classes(tmp_path: Path, tops: tuple[str, ...], said: str) -> None:
    """Read as classes, a network would learn to tell the splits."""
    root = tmp_path / "pets"
    for number, top in enumerate(tops):
        for kind in ("cat", "dog"):
            picture(root / top / kind / "0.png", number)
    for path in (root, zipped(root), zipped(root, "pets-main/")):
        with pytest.raises(DataError, match=said):
            read_folder(path, 0.2)


def test_train_without_test_below_a_top_folder_is_one_class(tmp_path: Path) -> None:
    """A top folder is taken away once, and what is left is train alone."""
    for kind in ("cat", "dog"):
        picture(tmp_path / "pets" / "train" / kind / "0.png", 1)
    archive = zipped(tmp_path / "pets", "pets-main/")
    with pytest.raises(DataError, match=r"no folders train and test: give a data\.test_share above 0"):
        read_folder(archive, 0.0)


@pytest.mark.parametrize("tops", [("bus", "car", "train"), ("exam", "test"), ("test", "train", "tram"), ("val", "vet")])
def test_a_class_may_be_named_as_a_split_is(tmp_path: Path, tops: tuple[str, ...]) -> None:
    for number, top in enumerate(tops):
        for count in range(5):
            picture(tmp_path / top / f"{count}.png", 10 * number + count)
    found = read_folder(tmp_path, 0.2)
    assert sorted(found.train[1].tolist()) == sorted(4 * list(range(len(tops))))
    assert sorted(found.test[1].tolist()) == list(range(len(tops)))


def test_what_is_not_cifar10_as_jpeg_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ten classes of 32 x 32 are, of which only the counts are wrong. It is looked for where all data are."""
    path = tmp_path / "CIFAR10_jpeg" / "cifar10_jpeg"
    for part in ("train", "test"):
        for label in range(10):
            picture(path / part / str(label) / "0.png", label, size=(32, 32))
    archive = zipped(path)
    said = r"data\.path=.* is not cifar10_jpeg, whose ten classes have 5,000 \+ 1,000 images of 32x32"
    for key in ("dir", "environment"):
        if key == "environment":
            monkeypatch.setenv("NORMBENCH_DATA_DIR", str(tmp_path))
        config = DataConfig("cifar10_jpeg", dir=str(tmp_path) if key == "dir" else None)
        assert found_path("CIFAR10_jpeg/cifar10_jpeg.zip", config) == archive
        with pytest.raises(DataError, match=said):
            cifar10_jpeg(config)
    with pytest.raises(DataError, match=said):
        cifar10_jpeg(DataConfig("cifar10_jpeg"), path=str(folder))
    archive.unlink()
    with pytest.raises(DataError, match=r"there is no CIFAR10_jpeg.*: correct it, or data\.dir"):
        cifar10_jpeg(DataConfig("cifar10_jpeg"))


@pytest.mark.slow
def test_the_photographs_of_cifar10_as_jpeg() -> None:
    config = DataConfig("cifar10_jpeg")
    try:
        found_path("CIFAR10_jpeg/cifar10_jpeg.zip", config)
    except DataError:
        pytest.skip("NORMBENCH_DATA_DIR has no CIFAR10_jpeg/cifar10_jpeg.zip")
    images, known = cifar10_jpeg(config), dataset_facts(config)
    assert (images.image, images.train[0].shape[1:]) == (known.image, known.image) == ((3, 32, 32), (3, 32, 32))
    assert [np.bincount(labels).tolist() for _, labels in (images.train, images.test)] == [[5_000] * 10, [1_000] * 10]
    assert (len(images.train[1]), len(images.test[1]), known.classes) == (known.train, known.test, 10)
