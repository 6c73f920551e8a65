"""MNISTDataModule: fixed splits, an order that depends on (seed, epoch) alone, every evaluated image once."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from normbench.data import Images, MNISTDataModule, register_dataset, registry
from normbench.data.idx import FILES
from normbench.data.loaders import EvalLoader, Split
from normbench.errors import DataError, UsageError
from normbench.spec.counts import EVAL_BATCH
from normbench.spec.registry import DATASETS
from normbench.spec.schema import DataConfig


def trainer(
    world: int = 1, rank: int = 0, accumulate: int = 1, epoch: int = 0, overfit: int = 0, limit: float = float("inf")
) -> Any:
    """As much of a Trainer as the data module looks at."""
    return SimpleNamespace(
        world_size=world,
        global_rank=rank,
        accumulate_grad_batches=accumulate,
        current_epoch=epoch,
        overfit_batches=overfit,
        num_training_batches=limit,
        strategy=SimpleNamespace(root_device=torch.device("cpu"), broadcast=lambda name: name),
    )


def data(made_up: Path, place: Any = None, **options: Any) -> MNISTDataModule:
    """The made-up images, whose first pixels are the image's number."""
    module = MNISTDataModule(**{"name": "made_up", "seed": 0, "dir": str(made_up), "train_samples": 640} | options)
    module.trainer = place or trainer()
    module.setup()
    return module


def numbers(module: MNISTDataModule, images: Tensor) -> list[int]:
    """Which images of the files these are, told from their pixels."""
    facts = module.dataset
    pixels = (images * 255 * facts.std[0] + 255 * facts.mean[0]).round().long()
    return (pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 0, 1]).tolist()


def order(module: MNISTDataModule) -> list[list[int]]:
    """The images of each training batch."""
    return [numbers(module, images) for images, _ in module.train_dataloader()]


# Splits.


def test_validation_comes_out_of_the_training_images_and_test_is_the_official_one(made_up: Path) -> None:
    module = data(made_up, train_samples=None)
    facts = module.facts()
    assert {key: facts[key] for key in ("name", "train", "validation", "test")} == {
        "name": "made_up",
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
    assert list(module.facts()["md5"].values()) == list(DATASETS.get("mnist").facts["files"].md5)
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
    original = registry.checked
    monkeypatch.setattr(registry, "checked", lambda images, name: reads.append(name) or original(images, name))
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
    ("batch_size", "said"),
    [(0, ": expected a whole number from 1"), (641, " is larger than the 640 training images of made_up: choose")],
)
def test_a_batch_that_cannot_be_is_named(made_up: Path, batch_size: int, said: str) -> None:
    with pytest.raises(UsageError, match=f"data.batch_size={batch_size}{said}"):
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


@pytest.mark.parametrize("left_after", [1, 3, 9])
def test_an_epoch_that_is_left_before_its_end_leaves_nothing_behind(made_up: Path, left_after: int) -> None:
    module = data(made_up)
    undisturbed = order(module)
    loader = module.train_dataloader()
    batches = iter(loader)
    for _ in range(left_after):
        next(batches)
    assert [numbers(module, images) for images, _ in loader] == undisturbed


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_limited_epoch_that_is_done_is_not_continued(made_up: Path, stop: int) -> None:
    module = data(made_up, trainer(limit=3))
    undisturbed = order(module)
    loader = module.train_dataloader()
    loader.load_state_dict({"yielded": stop})
    rest = [numbers(module, images) for images, _ in loader]
    assert rest == undisturbed[stop % 3 :], "its last batch was the third"


def test_overfitting_goes_over_the_same_order_in_every_epoch(made_up: Path) -> None:
    assert order(data(made_up, trainer(epoch=3, overfit=2))) == order(data(made_up, trainer(epoch=0, overfit=2)))


# Evaluation.


@pytest.mark.parametrize("size", [1000, 999, 997, 501, 500, 499, 8, 7])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_every_image_is_evaluated_exactly_once(size: int, world: int) -> None:
    split = Split(torch.arange(size).view(-1, 1, 1, 1), torch.arange(size), torch.arange(size))
    owner = SimpleNamespace(batch=lambda split, indices, corruption=None: split.at(indices))
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


def test_fewer_images_than_devices_are_refused() -> None:
    split = Split(torch.zeros(3, 1, 1, 1), torch.arange(3), torch.arange(3))
    with pytest.raises(UsageError, match="3 images cannot be evaluated on 4 devices"):
        EvalLoader(None, split, 4, 0)  # type: ignore[arg-type]


def test_predicting_goes_over_the_test_images_in_their_order(made_up: Path) -> None:
    module = data(made_up)
    seen = [number for images, _ in module.predict_dataloader() for number in numbers(module, images)]
    assert seen == list(range(10_000))


# Settings.


def test_pixels_stay_between_0_and_1_where_they_are_not_standardised(made_up: Path) -> None:
    module = data(made_up, standardize=False)
    split = module._splits["test"]
    images, _ = module.batch(split, torch.arange(700))
    assert torch.equal(images, split.images[:700].to(torch.float32) / 255)
    assert (images.min(), images.max()) == (0, 1)


def test_validation_can_be_of_any_size_or_none(made_up: Path) -> None:
    module = data(made_up, validation=600, train_samples=None)
    assert torch.bincount(module._splits["validation"].labels).tolist() == [60] * 10
    assert module.facts()["train"] == 59_400
    module = data(made_up, validation=0, train_samples=None)
    assert (module.facts()["train"], module.facts()["validation"]) == (60_000, 0)
    assert module.val_dataloader() == []
    everything = module.batch(module._splits["train"], torch.arange(60_000))[0]
    assert numbers(module, everything) == list(range(60_000))
    with pytest.raises(UsageError, match=r"data.validation=60000 leaves nothing to train on: made_up has 60,000"):
        data(made_up, validation=60_000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": "8"}, "data.batch_size=8: expected a whole number from 1"),
        ({"train_samples": 0}, "data.train_samples=0: expected"),
        ({"train_samples": 55_001}, "data.train_samples=55001 is more than the 55,000 training images of made_up"),
        ({"validation": -1}, "data.validation=-1: expected"),
        ({"standardize": 1}, "data.standardize=1: expected true or false"),
        ({"seed": -1}, "seed=-1: expected"),
        ({"batchsize": 8}, "data.batchsize: 'made_up' has no such option"),
        ({"name": "made_pu"}, "unknown data set 'made_pu': did you mean 'made_up'"),
    ],
)
def test_settings_that_cannot_be_are_named(made_up: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        data(made_up, **options)


def test_every_channel_of_colour_images_is_standardised(colour: np.ndarray) -> None:
    module = MNISTDataModule("colour", batch_size=4, validation=0)
    assert (module.num_classes, module.image_shape) == (3, (3, 4, 6)), "before the setup"
    module.setup()
    split = module._splits["train"]
    images, _ = module.batch(split, torch.arange(len(split)))
    assert images.shape == (30, 3, 4, 6)
    assert images.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (images.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    assert torch.equal(split.images, torch.from_numpy(colour))
    facts = module.facts()
    assert (facts["classes"], facts["image"], len(facts["digest"])) == (3, [3, 4, 6], 16)


@pytest.fixture
def colour() -> Iterator[np.ndarray]:
    """Pixels of a registered data set in colour."""
    pixels = np.random.default_rng(0).integers(0, 256, (36, 3, 4, 6), dtype=np.uint8)
    x, y = pixels[:30], np.arange(30) % 3
    register_dataset("colour")(lambda: Images(train=(x, y), test=(pixels[30:], y[:6])))
    yield x
    DATASETS.remove("colour")


def test_the_seed_is_that_of_seed_everything_where_none_is_given(
    made_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert MNISTDataModule().seed == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # restored afterwards, whatever seed_everything leaves
    pl.seed_everything(7, verbose=False)
    assert MNISTDataModule().seed == 7
    assert MNISTDataModule(seed=0).seed == 0, "zero is a seed"
    assert order(data(made_up, seed=None)) == order(data(made_up, seed=7))
    monkeypatch.setenv("PL_GLOBAL_SEED", "x")
    with pytest.raises(UsageError, match="PL_GLOBAL_SEED=x is not a whole number"):
        MNISTDataModule()


def test_the_configuration_of_a_run_makes_an_equal_module(made_up: Path) -> None:
    config = DataConfig("made_up", 32, 640, 100, False, dir=str(made_up))
    module = MNISTDataModule.from_config(config, seed=3)
    assert (module.config, module.seed) == (config, 3)


def test_ranks_take_the_data_set_of_the_first(made_up: Path) -> None:
    place = trainer(world=2, rank=1)
    place.strategy.broadcast = lambda name: "mnist_5k"
    module = MNISTDataModule("made_up", dir=str(made_up), batch_size=2)
    module.trainer = place
    module.setup()
    assert module.facts()["name"] == "mnist_5k"


# Under a real Trainer.


class Linear(pl.LightningModule):
    """The smallest module that trains."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(784, 10)
        self.validated = 0

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.flatten(1))

    def training_step(self, batch: Any, index: int) -> Tensor:
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.validated += len(batch[1])

    def predict_step(self, batch: Any, index: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Watched(MNISTDataModule):
    """Remembers which images each training batch had."""

    def __init__(self, **options: Any) -> None:
        super().__init__("mnist_5k", 32, 640, seed=0, **options)
        self.seen: list[tuple[int, ...]] = []

    def batch(self, split: Split, indices: Tensor, *more: Any, **named: Any) -> Any:
        if split is self._splits["train"]:
            self.seen.append(tuple(indices.tolist()))
        return super().batch(split, indices, *more, **named)


class SaveAt(pl.Callback):
    """Saves a checkpoint after a step."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path, weights_only=False)


def fitted(steps: int, checkpoint: Path | None = None, module: Watched | None = None, **options: Any) -> Watched:
    module = module or Watched()
    real(steps, **options).fit(Linear(), module, ckpt_path=checkpoint, weights_only=False)
    return module


def real(steps: int, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        accelerator="cpu", max_steps=steps, enable_checkpointing=False, num_sanity_val_steps=0, **quiet, **options
    )


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("overfit", [1, 2])
def test_overfitting_trains_on_that_many_batches(overfit: int, accumulate: int) -> None:
    seen = fitted(6, overfit_batches=overfit, accumulate_grad_batches=accumulate).seen
    assert len(set(seen)) == overfit
    assert seen == [seen[index % overfit] for index in range(len(seen))]


def test_a_limited_epoch_begins_with_its_own_first_batch() -> None:
    whole = fitted(25).seen  # 20 batches are an epoch
    assert fitted(5, limit_train_batches=3).seen == whole[:3] + whole[20:22]


@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 3}, {"overfit_batches": 2}])
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_resumes_at_its_exact_batch(tmp_path: Path, options: dict[str, Any], stop: int) -> None:
    path = tmp_path / "at.ckpt"
    before = fitted(stop, callbacks=[SaveAt(stop, path)], **options).seen
    assert before + fitted(7, path, **options).seen == fitted(7, **options).seen


def test_no_validation_means_none(tmp_path: Path) -> None:
    module = Linear()
    real(25).fit(module, Watched(validation=0))
    assert module.validated == 0
    real(25).fit(module, Watched(validation=100))
    assert module.validated == 100


def test_predict_gives_logits_of_every_test_image() -> None:
    assert sum(map(len, real(1).predict(Linear(), Watched()) or [])) == 1_000


def test_a_checkpoint_restores_an_equal_module(tmp_path: Path) -> None:
    module = MNISTDataModule("mnist_5k", 32, 640, seed=5, validation=77, standardize=False)
    trainer = real(1)
    trainer.fit(Linear(), module)
    trainer.save_checkpoint(tmp_path / "at.ckpt")
    again = MNISTDataModule.load_from_checkpoint(tmp_path / "at.ckpt", weights_only=False)
    assert (again.config, again.seed) == (module.config, 5)
    images = Images(
        train=(np.zeros((20, 2, 2), np.uint8), np.arange(20) % 2), test=(np.zeros((2, 2, 2), np.uint8), [0, 1])
    )
    register_dataset("with_options")(lambda *, depth=1: images)
    try:
        assert MNISTDataModule(**MNISTDataModule("with_options", depth=3).hparams).config.options == {"depth": 3}
    finally:
        DATASETS.remove("with_options")


def test_numbers_of_numpy_come_back_as_pythons_own(tmp_path: Path) -> None:
    given: dict[str, Any] = {"batch_size": np.int64(32), "train_samples": np.int32(640), "validation": np.int64(77)}
    module = MNISTDataModule("mnist_5k", **given, standardize=np.False_, depth=np.int64(3), path=np.str_("a"))
    torch.save(dict(module.hparams), tmp_path / "hparams.pt")
    kept = torch.load(tmp_path / "hparams.pt", weights_only=True)
    assert MNISTDataModule(**kept).config == module.config
    assert (type(module.batch_size), kept["standardize"], kept["depth"], kept["path"]) == (int, False, 3, "a")
