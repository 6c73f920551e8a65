"""Numbers that follow from a resolved configuration: steps, images, values that share a statistic. No torch."""

from __future__ import annotations

import math
from typing import Any

from normbench.errors import UsageError
from normbench.spec.registry import DATASETS, MODELS, NORMS
from normbench.spec.schema import RunConfig

EVAL_BATCH = 100  # images that a device evaluates at a time: as fast as 500 on a CPU, at a fifth of the memory


def image_facts(data: Any) -> Any:
    return DATASETS.get(data.name).facts["facts"](data)


def layers(config: RunConfig) -> list[Any] | None:
    """The layers of a resolved model as plain data, or None where they are only known once built."""
    model = config.model
    assert model.norm is not None
    images = image_facts(config.data)
    found: list[Any] | None = MODELS.get(model.name).facts["layers"](model, images.image, images.classes)
    return found


def norm_facts(config: RunConfig) -> Any:
    """What is measured of the norm of a resolved configuration."""
    return NORMS.get(str(config.model.norm)).facts["measured"](config.model.norm_options)


def train_images(config: RunConfig) -> int:
    """Training images of an epoch, before the last partial batch is left out."""
    return config.data.train_samples or whole_train_images(config)


def whole_train_images(config: RunConfig) -> int:
    """Training images that the data set has once validation is taken out."""
    facts = image_facts(config.data)
    return int(facts.train - validation_images(config))


def validation_images(config: RunConfig) -> int:
    """Images that are kept apart to validate on."""
    chosen = config.data.validation
    return int(image_facts(config.data).validation if chosen is None else chosen)


def validates(config: RunConfig) -> bool:
    """Whether the run is validated at all."""
    return config.trainer.validations > 0 and validation_images(config) > 0


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


def evaluation_batches(images: int, devices: int) -> int:
    """Batches in which each of the devices evaluates its share of the images."""
    return math.ceil(math.ceil(images / devices) / EVAL_BATCH)


def evenly_spread(total: int, count: int) -> list[int]:
    """The steps, of `total`, after which something happens `count` times, evenly spread and the last at the end."""
    count = min(count, total)
    return [math.ceil(index * total / count) for index in range(1, count + 1)]


def devices(config: RunConfig) -> int:
    """Processes that train together."""
    return config.trainer.devices * config.trainer.num_nodes


def device_batch(config: RunConfig) -> int:
    """Images that one device, real or virtual, has at a time."""
    parts = devices(config) * config.trainer.accumulate_grad_batches * config.trainer.virtual_devices
    return config.data.batch_size // parts


def devices_together(config: RunConfig) -> int:
    """Devices, real or virtual, that share a statistic. Raises UsageError for groups that do not divide them."""
    return int(norm_facts(config).devices_of(devices(config) * config.trainer.virtual_devices))


def alike_on_devices(config: RunConfig) -> bool:
    """Whether a run comes to the same on any number of virtual devices: its statistics are of one image, or of all."""
    facts = norm_facts(config)
    if facts.remembers:
        return False
    one = config.trainer.virtual_devices == 1
    return one or not facts.has_statistics or facts.images.rule == "one" or (facts.devices and not facts.device_group)


def images_per_statistic(config: RunConfig) -> int | None:
    """Images whose activations share one mean and variance while training; 0 without a norm.

    None where statistics are of earlier batches too: no batch decides of how many images.
    """
    facts = norm_facts(config)
    if facts.remembers:
        return None
    if not facts.has_statistics:
        return 0
    return int(facts.images.of(device_batch(config) * devices_together(config)))


def values_per_statistic(config: RunConfig) -> int | None:
    """Values that share one mean and variance while training, at the site with the fewest; None if not known.

    None too where statistics are of earlier batches.
    """
    facts = norm_facts(config)
    if facts.remembers:
        return None
    walk = layers(config)
    if not facts.has_statistics:
        return 0
    sites: list[Any] = [layer.site for layer in walk or [] if layer.site is not None]
    images = device_batch(config) * devices_together(config)
    return min((facts.values_per_statistic(images, s.channels, s.positions) for s in sites), default=None)


BLOCK_STEPS, BLOCK_IMAGES = 16, 1024  # above 16 nothing more is gained; the images of a block are in memory at once


def steps_per_execution(config: RunConfig) -> int:
    """Optimizer steps of a resolved run that are executed as one, at most. See `TrainerConfig`."""
    trainer = config.trainer
    each_step_seen = (
        devices(config) > 1
        or trainer.accumulate_grad_batches > 1
        or trainer.gradient_clip_val is not None
        or trainer.precision not in ("32-true", "64-true")
        or trainer.callbacks
        or trainer.fast_dev_run
        or trainer.overfit_batches
        or config.logger.histograms
    )
    if each_step_seen:
        return 1
    if trainer.steps_per_execution is not None:
        return trainer.steps_per_execution
    return max(1, min(BLOCK_STEPS, BLOCK_IMAGES // config.data.batch_size))
