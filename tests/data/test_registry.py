"""register_dataset: options by signature, facts known or measured, one file to add a data set."""

import doctest
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normbench.data import Images, MNISTDataModule, dataset_facts, ensure, read, register_dataset
from normbench.data.source import available
from normbench.errors import DataError, UsageError
from normbench.spec import resolve, run_config, run_id
from normbench.spec.registry import DATASETS
from normbench.spec.schema import DataConfig, RunConfig
from normbench.spec.values import Count

pytestmark = pytest.mark.usefixtures("fresh_files")


def colour(count: int, shift: int = 0) -> Images:
    numbers = np.arange(count * 3 * 6 * 4).reshape(count, 3, 6, 4) * 37 + shift
    x, y = (numbers % 256).astype(np.uint8), np.arange(count) % 4
    return Images(train=(x, y), test=(x[:12], y[:12]))


@pytest.fixture
def stripes() -> Iterator[list[dict[str, Any]]]:
    """A registered data set in colour; the calls of its builder."""
    calls: list[dict[str, Any]] = []

    @register_dataset("stripes")
    def stripes(*, count: Count = 40, shift: int = 0) -> Images:
        """Stripes in colour.

        Args:
            count: Images.
        """
        calls.append({"count": count, "shift": shift})
        return colour(count, shift)

    yield calls
    DATASETS.remove("stripes")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "mnist_5k"])
def test_facts_of_the_built_in_sets_are_known_without_reading(name: str, tmp_path: Path) -> None:
    script = f"""if True:
        import sys
        from normbench.data import dataset_facts
        from normbench.spec.schema import DataConfig, RunConfig
        print(dataset_facts(DataConfig("{name}", dir="/nowhere")))
        assert not {{"torch", "torchvision", "lightning"}} & set(sys.modules)"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"name='{name}'" in said.stdout


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "mnist_5k"])
def test_known_facts_are_those_of_the_images(name: str, data_dir: Path | None) -> None:
    if name != "mnist_5k" and data_dir is None:
        pytest.skip("NORMBENCH_DATA_DIR has no MNIST")
    facts, images = dataset_facts(DataConfig(name)), read(DataConfig(name))
    assert (facts.train, facts.test) == (len(images.train[1]), len(images.test[1]))
    assert (facts.image, facts.classes) == (images.image, images.classes)
    assert (facts.validation, facts.mean, facts.std) == (images.validation, images.mean, images.std)
    assert facts.digest == "", "the name says it all, and old ids stay valid"
    x = images.train[0] / np.float32(255)
    tolerance = 0.005 if name == "mnist_5k" else 5e-5  # a part of MNIST, standardised as the whole
    assert facts.mean[0] == pytest.approx(x.mean(), abs=tolerance)
    assert facts.std[0] == pytest.approx(x.std(), abs=tolerance)


def test_facts_of_others_are_measured_once_a_process(stripes: list[dict[str, Any]]) -> None:
    config = DataConfig("stripes", options={"count": 60})
    facts = dataset_facts(config)
    assert (facts.train, facts.validation, facts.test, facts.image, facts.classes) == (60, 6, 12, (3, 6, 4), 4)
    assert len(facts.mean) == len(facts.std) == 3
    assert available(config) == ensure(config) == "stripes"
    assert dataset_facts(config) == facts
    read(config)
    assert stripes == [{"count": 60, "shift": 0}]


def test_the_digest_of_others_follows_what_they_hold(stripes: list[dict[str, Any]]) -> None:
    digests = [
        dataset_facts(DataConfig("stripes", options=options)).digest
        for options in ({}, {"count": 40}, {"count": 44}, {"shift": 1})
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert all(len(digest) == 16 for digest in digests)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cuont": 3}, "data.cuont: 'stripes' has no such option; unknown option 'cuont': did you mean 'count'"),
        ({"count": 0}, "data.count=0: expected a whole number from 1"),
        ({"count": "many"}, "data.count=many: expected a whole number"),
    ],
)
def test_options_are_checked(stripes: list[dict[str, Any]], options: dict[str, Any], said: str) -> None:
    for call in (dataset_facts, read):
        with pytest.raises(UsageError, match=said):
            call(DataConfig("stripes", options=options))
    with pytest.raises(UsageError, match=said):
        MNISTDataModule("stripes", **options).setup()
    assert stripes == []


def test_a_built_in_set_takes_no_options() -> None:
    with pytest.raises(UsageError, match=r"data.size: 'mnist' has no such option; it takes no options"):
        dataset_facts(DataConfig("mnist", options={"size": 3}))


def test_an_option_may_not_be_named_like_a_key_of_the_section() -> None:
    for name in ("dir", "seed", "validation"):
        build = eval(f"lambda *, {name}=1: None")
        with pytest.raises(UsageError, match=f"data set 'x' has an option '{name}', a key of the section: rename it"):
            register_dataset("x")(build)
    assert "x" not in DATASETS


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), OSError("no")])
def test_a_builder_that_fails_is_named(error: Exception) -> None:
    @register_dataset("broken")
    def broken() -> Images:
        raise error

    try:
        with pytest.raises(DataError, match=rf"data set broken \(.*test_registry.py\) fails: {type(error).__name__}: "):
            dataset_facts(DataConfig("broken"))
    finally:
        DATASETS.remove("broken")


# A file given by its path.


def save(path: Path, **changes: Any) -> DataConfig:
    images = colour(40)
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*images.train, *images.test), strict=True))
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
    return DataConfig("npz", options={"path": str(path)})


def test_a_file_given_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = save(tmp_path / "mine.npz")
    facts = dataset_facts(config)
    assert (facts.train, facts.test, facts.image, facts.classes) == (40, 12, (3, 6, 4), 4)
    assert list(read(config).md5) == ["mine.npz"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_facts(DataConfig("npz", options={"path": "~/mine.npz"})).digest == facts.digest
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    moved = DataConfig("npz", options={"path": str(tmp_path / "moved.npz")})
    assert dataset_facts(moved) == facts, "the content is what counts, not the path"
    save(tmp_path / "moved.npz", y_train=np.arange(40)[::-1] % 4)
    assert dataset_facts(moved).digest != facts.digest, "a file that has changed is read anew"


@pytest.mark.filterwarnings("ignore:.*are training images too")
def test_where_a_file_lies_is_no_part_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(path: str) -> RunConfig:
        keys = {"data.name": "npz", "data.path": path, "data.batch_size": 4, "model.name": "mlp"}
        return resolve(run_config(keys))

    save(tmp_path / "mine.npz")
    first = run_id(run(str(tmp_path / "mine.npz")))
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    assert run_id(run(str(tmp_path / "moved.npz"))) == first
    monkeypatch.chdir(tmp_path)
    near = run("moved.npz")
    assert run_id(near) == first
    assert near.data.options["path"] == str(tmp_path / "moved.npz"), "config.yaml starts an equal run from any folder"
    save(tmp_path / "moved.npz", y_train=np.arange(40)[::-1] % 4)
    assert run_id(run("moved.npz")) != first, "the content is"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_test": None}, "has no array x_test, but x_train, y_test, y_train"),
        ({"y_train": np.arange(40) - 1}, r"npz \(.*mine.npz\), training: labels range from -1 to 38, expected 0 to 38"),
        ({"x_train": np.zeros((40, 3, 6, 4))}, "images are float64, expected uint8"),
        ({"y_test": np.array([None] * 12)}, "cannot be read .*allow_pickle=False"),
    ],
)
def test_a_file_with_something_else(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        dataset_facts(save(tmp_path / "mine.npz", **changes))


def damaged(change: Callable[[bytes], bytes]) -> bytes:
    """A compressed file of the four arrays, changed."""
    kept = io.BytesIO()
    np.savez_compressed(kept, **dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), np.arange(9999)))
    return change(kept.getvalue())


def garbled(content: bytes) -> bytes:
    """Its first array does not unpack."""
    return content[:200] + b"\xff" * 50 + content[250:]


def encrypted(content: bytes) -> bytes:
    """Its parts say that they need a password."""
    for mark, place in ((rb"PK\x03\x04", 6), (rb"PK\x01\x02", 8)):
        for found in re.finditer(mark, content):
            at = found.start() + place
            content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
    return content


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\3\4 broken", damaged(garbled), damaged(encrypted)])
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"data.path=.*mine.npz cannot be read .*: give an .npz file with x_train"):
        dataset_facts(DataConfig("npz", options={"path": str(path)}))


def test_npz_needs_its_path() -> None:
    with pytest.raises(UsageError, match=r"data.path: 'npz' needs this option"):
        dataset_facts(DataConfig("npz"))


@pytest.mark.parametrize("module", ["images", "registry", "module"])
def test_examples_in_docstrings_hold(module: str) -> None:
    try:
        failed, tried = doctest.testmod(import_module(f"normbench.data.{module}"))
        assert tried > 0
        assert failed == 0
    finally:
        if "stripes" in DATASETS:
            DATASETS.remove("stripes")
