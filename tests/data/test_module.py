"""MNISTDataModule: fixed splits, an order that depends on (seed, epoch) alone, every evaluated image once."""

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from normbench.data import MNISTDataModule
from normbench.data import module as data_module
from normbench.data.module import EVAL_BATCH, EvalLoader, Split
from normbench.data.source import FILES, get_dataset
from normbench.errors import DataError, UsageError


def trainer(world: int = 1, rank: int = 0, accumulate: int = 1, epoch: int = 0, overfit: int = 0) -> Any:
    """As much of a Trainer as the data module looks at."""
    return SimpleNamespace(
        world_size=world,
        global_rank=rank,
        accumulate_grad_batches=accumulate,
        current_epoch=epoch,
        overfit_batches=overfit,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


def data(made_up: Path, place: Any = None, **options: Any) -> MNISTDataModule:
    """The made-up images, whose first pixels are the image's number."""
    module = MNISTDataModule(**{"name": "fashion_mnist", "dir": str(made_up), "train_samples": 640} | options)
    module.trainer = place or trainer()
    module.setup()
    return module


def numbers(module: MNISTDataModule, images: Tensor) -> list[int]:
    """Which images of the files these are, told from their pixels."""
    facts = module.dataset
    pixels = (images * 255 * facts.std + 255 * facts.mean).round().long()
    return (pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 0, 1]).tolist()


def order(module: MNISTDataModule) -> list[list[int]]:
    """The images of each training batch."""
    return [numbers(module, images) for images, _ in module.train_dataloader()]


# Splits.


def test_validation_comes_out_of_the_training_images_and_test_is_the_official_one(made_up: Path) -> None:
    module = data(made_up, train_samples=None)
    facts = module.facts()
    assert {key: facts[key] for key in ("name", "train", "validation", "test")} == {
        "name": "fashion_mnist",
        "train": 55_000,
        "validation": 5_000,
        "test": 10_000,
    }
    assert set(facts["md5"]) == set(FILES)
    parts = {name: module.batch(split, torch.arange(len(split))) for name, split in module._splits.items()}
    found = {name: numbers(module, images) for name, (images, _) in parts.items()}
    assert sorted(found["train"] + found["validation"]) == list(range(60_000))
    assert found["test"] == list(range(10_000))
    assert torch.bincount(parts["validation"][1]).tolist() == [500] * 10
    for name, (_, labels) in parts.items():
        assert labels.tolist() == [number * 7 % 10 for number in found[name]], "images keep their labels"


def test_splits_do_not_depend_on_the_seed(made_up: Path) -> None:
    one, other = data(made_up, seed=0), data(made_up, seed=1)
    for name in ("train", "validation", "test"):
        assert torch.equal(one._splits[name].images, other._splits[name].images)


def test_a_subset_of_the_training_images_is_stratified(made_up: Path) -> None:
    module = data(made_up, train_samples=300)
    assert torch.bincount(module._splits["train"].labels).tolist() == [30] * 10
    assert module.facts()["train"] == 300
    assert module.facts()["validation"] == 5_000
    chosen = set(numbers(module, module.batch(module._splits["train"], torch.arange(300))[0]))
    validation = module._splits["validation"]
    assert not chosen & set(numbers(module, module.batch(validation, torch.arange(5_000))[0]))


def test_the_official_images_of_mnist(real_mnist: Path) -> None:
    module = MNISTDataModule("mnist", dir=str(real_mnist))
    module.setup()
    assert {key: len(split) for key, split in module._splits.items()} == {
        "train": 55_000,
        "validation": 5_000,
        "test": 10_000,
    }
    assert list(module.facts()["md5"].values()) == list(get_dataset("mnist").md5)
    raw = np.fromfile(real_mnist / "MNIST" / "raw" / FILES[2], np.uint8)[16:].reshape(-1, 28, 28)
    assert np.array_equal(module._splits["test"].images[:, 0].numpy(), raw)


def test_fashion_mnist_loads(real_mnist: Path) -> None:
    if not (real_mnist / "FashionMNIST" / "raw" / FILES[0]).exists():
        pytest.skip("the folder has no Fashion-MNIST")
    module = MNISTDataModule("fashion_mnist", dir=str(real_mnist))
    module.setup()
    assert torch.bincount(module._splits["train"].labels).tolist() == [5_500] * 10


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "mnist_5k"])
def test_images_are_standardised(name: str, data_dir: Path | None) -> None:
    if name != "mnist_5k" and data_dir is None:
        pytest.skip("NORMBENCH_DATA_DIR has no MNIST")
    module = MNISTDataModule(name, batch_size=500)
    module.setup()
    split = module._splits["train"]
    images, labels = module.batch(split, torch.arange(len(split)))
    assert (images.dtype, images.shape[1:], labels.dtype) == (torch.float32, (1, 28, 28), torch.int64)
    assert images.mean().item() == pytest.approx(0, abs=0.02)
    assert images.std().item() == pytest.approx(1, abs=0.02)


def test_the_embedded_digits_are_divided_three_ways() -> None:
    module = MNISTDataModule("mnist_5k")
    module.setup()
    assert {key: len(split) for key, split in module._splits.items()} == {
        "train": 3_500,
        "validation": 500,
        "test": 1_000,
    }
    for split in module._splits.values():
        assert torch.bincount(split.labels).tolist() == [len(split) // 10] * 10
    everything = torch.cat([split.images for split in module._splits.values()]).flatten(1)
    assert len(everything.unique(dim=0)) == 5_000


@pytest.mark.usefixtures("fresh_files")
def test_a_damaged_file_stops_the_setup(made_up: Path, tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).symlink_to(made_up / "FashionMNIST" / "raw" / name)
    (raw / FILES[1]).unlink()
    (raw / FILES[1]).write_bytes(b"nothing")
    with pytest.raises(DataError, match="train-labels-idx1-ubyte has 7 bytes"):
        data(tmp_path)


@pytest.mark.usefixtures("fresh_files")
def test_files_are_read_once_a_process(made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = data_module.read
    monkeypatch.setattr(data_module, "read", lambda config: reads.append(config) or original(config))
    for batch_size, seed in ((8, 0), (16, 1), (16, 2)):
        data(made_up, batch_size=batch_size, seed=seed).setup("test")
    assert len(reads) == 1


# Order.


def test_an_epoch_has_every_image_once_in_full_batches(made_up: Path) -> None:
    module = data(made_up, batch_size=60)
    batches = order(module)
    assert [len(batch) for batch in batches] == [60] * 10  # 640 images: the last 40 wait for another epoch
    flat = list(chain(*batches))
    assert len(set(flat)) == 600
    assert len(module.train_dataloader()) == 10


def test_order_depends_on_seed_and_epoch_alone(made_up: Path) -> None:
    def flat(**changes: Any) -> list[int]:
        place = trainer(epoch=changes.pop("epoch", 0))
        return list(chain(*order(data(made_up, place, **{"batch_size": 64} | changes))))

    first = flat()
    torch.manual_seed(99)
    np.random.seed(99)
    assert flat() == first, "not on the state of torch's or numpy's generator"
    assert flat(batch_size=32) == flat(batch_size=128) == first
    assert flat(seed=1) != first
    assert flat(epoch=1) != first
    assert flat(epoch=1) == flat(epoch=1)
    assert sorted(flat(epoch=1)) == sorted(first)


def test_seed_zero_is_a_seed(made_up: Path) -> None:
    torch.manual_seed(1)
    one = order(data(made_up, seed=0))
    torch.manual_seed(2)
    assert one == order(data(made_up, seed=0))
    assert one != order(data(made_up, seed=1))


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (4, 4)])
def test_devices_and_accumulated_parts_share_one_global_batch(made_up: Path, world: int, accumulate: int) -> None:
    whole = order(data(made_up, batch_size=64))
    ranks = [order(data(made_up, trainer(world, rank, accumulate), batch_size=64)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {10 * accumulate}
    for index, batch in enumerate(whole):
        parts = [ranks[rank][index * accumulate + part] for part in range(accumulate) for rank in range(world)]
        assert list(chain(*parts)) == batch


def test_a_batch_that_cannot_be_divided_is_named(made_up: Path) -> None:
    module = data(made_up, trainer(world=3, accumulate=2), batch_size=64)
    with pytest.raises(UsageError, match=r"batch_size=64 .* among 3 devices and 2 accumulated parts: .* multiple of 6"):
        module.train_dataloader()


@pytest.mark.parametrize(
    ("batch_size", "said"), [(0, "is not positive"), (641, "is larger than the 640 training images")]
)
def test_a_batch_that_cannot_be_is_named(made_up: Path, batch_size: int, said: str) -> None:
    with pytest.raises(UsageError, match=f"data.batch_size={batch_size} {said}.*choose"):
        data(made_up, batch_size=batch_size)


@pytest.mark.parametrize("stop", [1, 4, 9, 10])
def test_a_loader_resumes_after_its_last_batch(made_up: Path, stop: int) -> None:
    module = data(made_up)
    undisturbed = order(module)
    loader = module.train_dataloader()
    batches = iter(loader)
    seen = [numbers(module, next(batches)[0]) for _ in range(stop)]
    state = loader.state_dict()
    again = module.train_dataloader()
    again.load_state_dict(state)
    rest = [numbers(module, images) for images, _ in again]
    # A whole epoch that is done leaves nothing of itself: the next one begins.
    assert seen + rest == undisturbed + (undisturbed if stop == 10 else [])
    assert [numbers(module, images) for images, _ in again] == undisturbed, "and the epoch after it is whole"


def test_overfitting_goes_over_the_same_order_in_every_epoch(made_up: Path) -> None:
    assert order(data(made_up, trainer(epoch=3, overfit=2))) == order(data(made_up, trainer(epoch=0, overfit=2)))


# Evaluation.


@pytest.mark.parametrize("size", [1000, 999, 997, 501, 500, 499, 8, 7])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_every_image_is_evaluated_exactly_once(size: int, world: int) -> None:
    split = Split(torch.arange(size).view(-1, 1, 1, 1), torch.arange(size))
    owner = SimpleNamespace(batch=lambda split, indices: (split.images[indices], split.labels[indices]))
    seen, counts = [], set()
    for rank in range(world):
        loader = EvalLoader(owner, split, world, rank)  # type: ignore[arg-type]
        batches = list(loader)
        assert len(batches) == len(loader)
        counts.add(len(batches))
        for images, labels in batches:
            assert images.flatten().tolist() == labels.tolist()
            assert 0 < len(labels) <= EVAL_BATCH
            seen += labels.tolist()
    assert sorted(seen) == list(range(size)), "none twice, none left out"
    assert len(counts) == 1, "a device with fewer batches would leave the others waiting"


@pytest.mark.parametrize("batch_size", [1, 512, 640])
def test_evaluation_does_not_depend_on_the_training_batch(made_up: Path, batch_size: int) -> None:
    module = data(made_up, batch_size=batch_size)
    for loader, count in ((module.val_dataloader(), 5_000), (module.test_dataloader(), 10_000)):
        batches = list(loader)
        assert sum(len(labels) for _, labels in batches) == count
        assert len(batches) == count // EVAL_BATCH
