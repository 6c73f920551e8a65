"""From what a user wrote to what will run: every value filled in, every contradiction named. No torch here."""

from __future__ import annotations

import dataclasses
import platform
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from normbench.environ import expanded
from normbench.errors import UsageError
from normbench.spec.corruptions import corruptions
from normbench.spec.counts import (
    devices,
    epoch_samples,
    evaluation_batches,
    image_facts,
    layers,
    steps,
    train_images,
    validates,
    validation_images,
    whole_train_images,
)
from normbench.spec.degenerate import check_statistics
from normbench.spec.gpus import visible_gpus
from normbench.spec.keys import own_value
from normbench.spec.marks import NOT_IDENTITY, marks_of
from normbench.spec.plugins import load_plugins
from normbench.spec.registry import CALLBACKS, DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES, Entry
from normbench.spec.schedule import check_rate
from normbench.spec.schema import (
    SECTIONS,
    BudgetConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    Seed,
    TrainerConfig,
    has_own_spread,
    hints,
)
from normbench.spec.values import checked, shown_value


def resolve(config: RunConfig) -> RunConfig:
    """`config` with everything filled in that the run will use. Raises UsageError for whatever could not run.

    Warns with DegenerateStatisticWarning where a statistic has two values only.
    """
    load_plugins(tuple(config.plugins))
    sections = {name: resolve_section(name, config) for name in SECTIONS}
    resolved = dataclasses.replace(config, plugins=[_whole(path) for path in config.plugins], **sections)
    resolved = dataclasses.replace(resolved, model=resolve_model(resolved), probes=resolve_probes(config.probes))
    checked(resolved.seed, Seed, "seed")
    check_clashes(resolved)
    return dataclasses.replace(resolved, trainer=resolve_trainer(resolved))


def resolve_section(section: str, config: RunConfig) -> Any:
    """One section with its own keys checked and what it names resolved; `model` needs `resolve_model` besides."""
    values = getattr(config, section)
    if section == "optimizer":
        return resolve_optimizer(values)
    found = own_values(section, values)
    if section == "data":
        entry = DATASETS.get(values.name)
        found["options"] = _placed(entry, entry.chosen(values.options, "data"))
        found["dir"] = found["dir"] and _whole(found["dir"])
        images = image_facts(dataclasses.replace(values, **found))
        if found["validation"] == images.validation:
            found["validation"] = None  # the data set's own number is one thing, written out or not
        rest = images.train - (images.validation if found["validation"] is None else found["validation"])
        if found["train_samples"] == rest:
            found["train_samples"] = None
    elif section == "trainer":
        found["accelerator"] = device_kind(found["accelerator"])
        found["corruptions"] = list(map(str, corruptions(found["corruptions"], "trainer.corruptions")))
        for name in values.callbacks:
            CALLBACKS.get(name)
        _check_precision(found["precision"], found["accelerator"])
    elif section == "budget" and values == BudgetConfig():
        found["epochs"] = 1
    return dataclasses.replace(values, **found)


def own_values(section: str, values: Any) -> dict[str, Any]:
    """The own keys of a section, checked."""
    return {name: own_value(f"{section}.{name}", getattr(values, name), hint) for name, hint in hints(section).items()}


def resolve_optimizer(optimizer: OptimizerConfig) -> OptimizerConfig:
    """The optimizer's section with every option, all checked."""
    entry = OPTIMIZERS.get(optimizer.name)
    options = entry.chosen(optimizer.options, "optimizer")
    if check := entry.facts.get("check"):
        check(options)
    return dataclasses.replace(optimizer, **own_values("optimizer", optimizer), options=options)


def _placed(entry: Entry, options: dict[str, Any]) -> dict[str, Any]:
    """`options` with whole paths of the files that they name, where a path is no part of an identity."""
    marked = {name for name, option in entry.options.items() if NOT_IDENTITY in marks_of(option.hint)}
    return {name: _whole(value) if name in marked and value else value for name, value in options.items()}


def _whole(path: str) -> str:
    """The whole path of what exists: a run's config.yaml starts an equal run from any folder."""
    found = expanded(path)
    return str(found.absolute()) if found is not None and found.exists() else path


def resolve_probes(probes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every probe with all of its options; what a probe itself makes of them is tried."""
    chosen = {name: PROBES.get(name).chosen(options or {}, f"probes.{name}") for name, options in probes.items()}
    for name, options in chosen.items():
        PROBES.get(name).build(**options)
    return chosen


def check_init(model: ModelConfig) -> None:
    """Raises UsageError for a standard deviation of initial weights that is missing, or that nothing uses."""
    if has_own_spread(model) != (model.init_std is not None):
        raise UsageError(
            f"model.init_std: init {model.init} needs a standard deviation, for example 0.02"
            if has_own_spread(model)
            else f"model.init_std={model.init_std}: only init normal and truncated_normal have one of their own"
        )


def resolve_model(config: RunConfig) -> ModelConfig:
    """The model's section with its norm and every option; layers that cannot be built raise UsageError."""
    model = config.model
    entry = MODELS.get(model.name)
    norm = NORMS.get(model.norm or entry.facts["norm"]).name  # of a compound there are several spellings
    check_init(model)
    found = dataclasses.replace(
        model,
        norm=norm,
        norm_options=NORMS.get(norm).chosen(model.norm_options, "model.norm_options"),
        options=entry.chosen(model.options, "model"),
    )
    for layer in layers(dataclasses.replace(config, model=found)) or []:
        layer.check()
    return found


def resolve_trainer(config: RunConfig) -> TrainerConfig:
    """The trainer's section with limits that limit nothing taken away: what is one run has one id.

    Args:
        config: The run with all sections resolved, whose numbers of images and steps are known to fit.
    """
    trainer, total = config.trainer, steps(config)
    if trainer.fast_dev_run:
        evaluated = [image_facts(config.data).test] + [validation_images(config)] * validates(config)
        if trainer.fast_dev_run >= max(total, *(evaluation_batches(images, devices(config)) for images in evaluated)):
            trainer = dataclasses.replace(trainer, fast_dev_run=0, validations=min(1, trainer.validations))
        else:
            total = min(total, trainer.fast_dev_run)
    few = min(trainer.overfit_batches, epoch_samples(config) // config.data.batch_size)
    # A budget that ends within the first batches does not come back to them.
    return dataclasses.replace(trainer, overfit_batches=few if few < total else 0)


@cache
def device_kind(accelerator: str) -> str:
    """cpu, cuda or mps: what `auto` means on this machine, told without torch."""
    if accelerator != "auto":
        return accelerator
    if visible_gpus() and cuda_in_torch():
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"


def cuda_in_torch() -> bool:
    """Whether the installed torch was built for NVIDIA's or AMD's GPUs, told without importing it."""
    spec = find_spec("torch")
    try:
        text = Path(str(spec and spec.origin)).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(re.search(r"^(cuda|hip)\b[^=\n]*= *'", text, re.MULTILINE))


def _check_precision(precision: str, device: str) -> None:
    if device == "cpu" and precision == "16-mixed":
        raise UsageError(
            "trainer.precision=16-mixed: a CPU computes mixed precision in bfloat16 only: choose bf16-mixed, or "
            "trainer.accelerator=cuda"
        )
    if device == "mps" and precision == "64-true":
        raise UsageError("trainer.precision=64-true: Apple's GPUs have no float64: choose 32-true")


def check_clashes(config: RunConfig) -> None:
    """Raises UsageError for sections that cannot go together."""
    data, trainer = config.data, config.trainer
    train = train_images(config)
    whole = whole_train_images(config)
    if whole < 1:
        raise UsageError(
            f"data.validation={data.validation} leaves nothing of {data.name} to train on: choose a smaller number"
        )
    if data.train_samples is not None and data.train_samples > whole:
        raise UsageError(
            f"data.train_samples={data.train_samples} is more than the {whole:,} training images of {data.name}"
        )
    if data.batch_size > train:
        raise UsageError(
            f"data.batch_size={data.batch_size} is larger than the {train:,} training images of {data.name}: "
            "choose a smaller batch, or a larger data.train_samples"
        )
    _check_parts(config)
    if trainer.virtual_devices > 1 and devices(config) > 1:
        raise UsageError("trainer.virtual_devices needs trainer.devices=1: virtual devices stand for real ones")
    if trainer.keep == "best" and not validates(config):
        raise UsageError("trainer.keep=best needs validation images and trainer.validations of 1 or more")
    _check_validation_part(config)
    _check_probes(config)
    _check_cadence(config)
    check_rate(config)
    check_statistics(config)


def _check_probes(config: RunConfig) -> None:
    """Refuses probes that look at validation images where there are none, or that would never measure."""
    total = steps(config)
    for name, options in config.probes.items():
        probe = PROBES.get(name).build(**options)
        if probe.wants_held_out and not validation_images(config):
            raise no_held_out(name)
        if not probe.schedule(total):
            raise UsageError(
                f"probes.{name}.at={shown_value(probe.at)} is none of the steps that it can measure after: choose "
                f"1 to {total}, the last of the budget"
            )


def no_held_out(probe: str) -> UsageError:
    """What is said of a probe that needs validation images where there are none."""
    return UsageError(
        f"probe '{probe}' needs images that are not trained on, and the run has no validation images: "
        "give it some by data.validation (the test images are scored once, at the end)"
    )


def _check_validation_part(config: RunConfig) -> None:
    """Refuses a part of the validation images that is all of them, or that the best weights would be chosen on."""
    part, held_out = config.trainer.validation_images, validation_images(config)
    if part is None:
        return
    if part >= held_out:
        raise UsageError(
            f"trainer.validation_images={part}: {config.data.name} has {held_out:,} validation images: choose fewer, "
            "or leave it out to validate on all of them"
        )
    if config.trainer.keep == "best":
        raise UsageError("trainer.keep=best compares evaluations: leave out trainer.validation_images")


def _check_cadence(config: RunConfig) -> None:
    """Refuses more evaluations than steps, unless their number is the default or fewer, which fit any budget."""
    total = steps(config)
    for name in ("validations", "loss_points"):
        asked = getattr(config.trainer, name)
        if asked > max(total, getattr(TrainerConfig, name)):
            raise UsageError(
                f"trainer.{name}={asked} is more than the {total} steps of the budget: choose 1 to {total}"
            )


def _check_parts(config: RunConfig) -> None:
    trainer = config.trainer
    parts = {
        "trainer.devices x trainer.num_nodes": devices(config),
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
        "trainer.virtual_devices": trainer.virtual_devices,
    }
    total = 1
    for key, count in parts.items():
        total *= count
        if config.data.batch_size % total:
            raise UsageError(
                f"data.batch_size={config.data.batch_size} is the global batch and cannot be divided by {key}={count}"
                + (f" (by {total} in all)" if total != count else "")
                + ": choose a multiple"
            )
