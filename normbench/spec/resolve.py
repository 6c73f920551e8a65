"""From what a user wrote to what will run: every field filled in, every contradiction named. No torch here."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from normbench.data.source import get_dataset
from normbench.errors import NormbenchError, UsageError
from normbench.models import layers, resolve_model
from normbench.norms import get_norm, norm_options
from normbench.spec.schema import SECTIONS, BudgetConfig, RunConfig

POSITIVE = (
    ("data", "batch_size"),
    ("data", "train_samples"),
    ("optimizer", "lr"),
    ("optimizer", "reference_batch"),
    ("budget", "epochs"),
    ("budget", "steps"),
    ("budget", "samples"),
    ("trainer", "devices"),
    ("trainer", "num_nodes"),
    ("trainer", "virtual_devices"),
    ("trainer", "accumulate_grad_batches"),
    ("trainer", "threads"),
    ("trainer", "validations"),
    ("trainer", "loss_points"),
)


def resolve(config: RunConfig) -> RunConfig:
    """`config` with the model's fields filled in. Raises UsageError for whatever could not run."""
    for section in SECTIONS:
        check_positive(section, getattr(config, section))
    if config.model.dropout is not None and not 0 <= config.model.dropout < 1:
        raise UsageError(f"model.dropout={config.model.dropout} is not a probability below 1")
    load_plugins(tuple(config.plugins))
    budget = BudgetConfig(epochs=1) if config.budget == BudgetConfig() else config.budget
    resolved = dataclasses.replace(config, model=resolve_model(config.model), budget=budget)
    _check_batch(resolved)
    steps(resolved)
    return resolved


def check_positive(section: str, values: object) -> None:
    """Raises UsageError for a field of a section that has to be positive and is not."""
    for owner, name in POSITIVE:
        value = getattr(values, name) if owner == section else None
        if value is not None and value <= 0:
            raise UsageError(
                f"{section}.{name}={value} is not positive: choose {'1' if value == int(value) else '0.1'} or more"
            )


@lru_cache(maxsize=1)
def load_plugins(paths: tuple[str, ...]) -> None:
    """Imports the files that register norms and models of a user's own."""
    for path in paths:
        name = f"normbench_plugin_{Path(path).stem}"
        if name in sys.modules and sys.modules[name].__file__ == str(Path(path).resolve()):
            continue
        spec = importlib.util.spec_from_file_location(name, Path(path).resolve())
        if spec is None or spec.loader is None or not Path(path).is_file():
            raise UsageError(f"plugin {path} is not a Python file: give a path that exists")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except NormbenchError:
            del sys.modules[name]
            raise
        except Exception as error:  # a user's code may raise anything
            del sys.modules[name]
            raise UsageError(f"plugin {path} fails to import: {type(error).__name__}: {error}") from error


def _check_batch(config: RunConfig) -> None:
    data, trainer = config.data, config.trainer
    train = train_images(config)
    if data.train_samples is not None and data.train_samples > get_dataset(data.name).train:
        raise UsageError(
            f"data.train_samples={data.train_samples} is more than the {get_dataset(data.name).train:,} training "
            f"images of {data.name}"
        )
    if data.batch_size > train:
        raise UsageError(
            f"data.batch_size={data.batch_size} is larger than the {train:,} training images of {data.name}: "
            "choose a smaller batch, or a larger data.train_samples"
        )
    parts = {
        "trainer.devices x trainer.num_nodes": trainer.devices * trainer.num_nodes,
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
        "trainer.virtual_devices": trainer.virtual_devices,
    }
    total = 1
    for key, count in parts.items():
        total *= count
        if data.batch_size % total:
            raise UsageError(
                f"data.batch_size={data.batch_size} is the global batch and cannot be divided by {key}={count}"
                + (f" (by {total} in all)" if total != count else "")
                + ": choose a multiple"
            )
    if trainer.virtual_devices > 1 and trainer.devices * trainer.num_nodes > 1:
        raise UsageError("trainer.virtual_devices needs trainer.devices=1: virtual devices stand for real ones")
    _check_statistics(config)


def _check_statistics(config: RunConfig) -> None:
    """A batch statistic of one image on a linear layer (or a 1x1 map) is the value itself: nothing is left."""
    assert config.model.norm is not None
    norm = get_norm(config.model.norm)
    if norm.scope not in {"device", "global"}:
        return
    virtual = config.trainer.virtual_devices
    if virtual > 1 and norm.scope == "device" and "virtual_devices" not in norm_options(norm.name):
        raise UsageError(
            f"trainer.virtual_devices={virtual}: norm '{norm.name}' does not compute as that many devices would: "
            "choose real ones (trainer.devices), or norm batch"
        )
    size = config.model.norm_options.get("size")
    part = device_batch(config)
    if size and part > size and part % size:
        raise UsageError(
            f"model.norm_options.size={size} does not divide the {part} images of a device: choose a divisor"
        )
    if images_per_statistic(config) > 1:
        return
    for layer in layers(config.model) or []:
        if layer.norm and layer.outputs[1] * layer.outputs[2] == 1:
            raise UsageError(
                f"norm '{norm.name}' has one value for each statistic on {layer.name} with one image a device "
                f"(data.batch_size={config.data.batch_size}): choose a larger batch, or model.norm_linear=false"
            )


def train_images(config: RunConfig) -> int:
    """Training images of an epoch, before the last partial batch is left out."""
    return config.data.train_samples or get_dataset(config.data.name).train


def epoch_samples(config: RunConfig) -> int:
    """Images trained on in an epoch: whole batches only."""
    return train_images(config) // config.data.batch_size * config.data.batch_size


def steps(config: RunConfig) -> int:
    """Optimizer steps of the whole budget."""
    budget, batch_size = config.budget, config.data.batch_size
    given = [name for name in ("epochs", "steps", "samples") if getattr(budget, name) is not None]
    if len(given) != 1:
        raise UsageError(f"budget: give one of epochs, steps and samples, not {' and '.join(given) or 'none'}")
    if budget.steps is not None:
        return budget.steps
    if budget.samples is not None:
        if budget.samples < batch_size:
            raise UsageError(f"budget.samples={budget.samples} is less than one batch of {batch_size}")
        return budget.samples // batch_size
    assert budget.epochs is not None
    return budget.epochs * (train_images(config) // batch_size)


def devices(config: RunConfig) -> int:
    """Processes that train together."""
    return config.trainer.devices * config.trainer.num_nodes


def device_batch(config: RunConfig) -> int:
    """Images that one device, real or virtual, has at a time."""
    parts = devices(config) * config.trainer.accumulate_grad_batches * config.trainer.virtual_devices
    return config.data.batch_size // parts


def images_per_statistic(config: RunConfig) -> int:
    """Images whose activations share one mean and variance while training; 0 without a norm."""
    assert config.model.norm is not None
    trainer = config.trainer
    return get_norm(config.model.norm).images_per_statistic(
        config.data.batch_size,
        devices(config) * trainer.virtual_devices,
        trainer.accumulate_grad_batches,
        config.model.norm_options,
    )
