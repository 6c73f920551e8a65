"""The configuration of one run: frozen dataclasses, their checks, and the run's identity.

Nothing here imports torch, so a study of 100,000 cells is planned and hashed in seconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from normbench.errors import UsageError


@dataclass(frozen=True)
class DataConfig:
    """Which images, in which batches.

    Args:
        name: Data set: mnist, fashion_mnist, or mnist_5k (5,000 real MNIST digits that need no download).
        batch_size: Global batch: the images of one optimizer step, over all devices and accumulated batches.
        train_samples: Train on a stratified subset of this many images; null takes them all.
        dir: Folder with MNIST/raw/*-ubyte as torchvision lays it out; null looks at NORMBENCH_DATA_DIR and
            the user's cache, and downloads where neither has the files.
        allow_embedded: Fall back to mnist_5k where mnist can be neither found nor downloaded.
    """

    name: str = "mnist"
    batch_size: int = 64
    train_samples: int | None = None
    dir: str | None = None
    allow_embedded: bool = True


@dataclass(frozen=True)
class ModelConfig:
    """Architecture and normalization. A field left null takes the value of the named model or preset.

    Args:
        name: Model or preset: digit_cnn, digit_cnn_bn, cnn, mlp, or a registered one.
        norm: Normalization: none, batch, layer, instance, group, or a registered one.
        norm_options: Options of the norm's builder, for example {groups: 8} or {eps: 0.001}.
        channels: Output channels of each convolution (cnn).
        kernel_size: Side of the square convolution kernels (cnn).
        padding: Zero padding of the convolutions: same, valid, or a number of pixels (cnn).
        stride: Stride of the convolutions (cnn).
        pool: Pooling 2x2 after each block: max, average or none (cnn).
        hidden: Widths of the hidden linear layers.
        dropout: Probability of dropping a unit after each hidden linear layer.
        activation: relu, gelu, silu, tanh or sigmoid.
        norm_position: Norm before or after the activation.
        norm_linear: Norm on the hidden linear layers too.
        norm_logits: Norm on the output of the last layer.
        bias: Bias of a layer that a norm follows: auto drops it only where the norm cancels it exactly.
        options: Options of a registered model of your own.
    """

    name: str = "digit_cnn"
    norm: str | None = None
    norm_options: dict[str, Any] = field(default_factory=dict)
    channels: list[int] | None = None
    kernel_size: int | None = None
    padding: Literal["same", "valid"] | int | None = None
    stride: int | None = None
    pool: Literal["max", "average", "none"] | None = None
    hidden: list[int] | None = None
    dropout: float | None = None
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid"] | None = None
    norm_position: Literal["before", "after"] | None = None
    norm_linear: bool | None = None
    norm_logits: bool | None = None
    bias: Literal["auto", "always", "never"] | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights move.

    Args:
        name: sgd, adam or adamw.
        lr: Learning rate at the reference batch.
        momentum: Momentum of sgd.
        weight_decay: L2 decay (decoupled for adamw), on every parameter.
        lr_scaling: How lr follows the batch size: none, sqrt or linear (lr times batch_size / reference_batch).
        reference_batch: The batch size at which lr holds as written.
        schedule: constant, cosine (to zero at the end of the budget) or step (times step_factor).
        warmup_steps: Steps of linear warm-up from zero, before the schedule.
        step_every: Fraction of the budget after which a step schedule multiplies lr once more.
        step_factor: Factor of a step schedule.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    lr_scaling: Literal["none", "sqrt", "linear"] = "none"
    reference_batch: int = 32
    schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup_steps: int = 0
    step_every: float = 0.34
    step_factor: float = 0.1


@dataclass(frozen=True)
class BudgetConfig:
    """How long a run trains: one of the three is set; none of them means one epoch.

    Args:
        epochs: Passes over the training images (only full batches are trained on).
        steps: Optimizer steps.
        samples: Training images seen, rounded down to whole batches.
    """

    epochs: int | None = None
    steps: int | None = None
    samples: int | None = None


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how the run executes; most fields are Lightning's own.

    Args:
        accelerator: cpu, gpu, mps or auto.
        devices: Processes (one a device) on each node; the global batch is divided among them.
        num_nodes: Nodes.
        virtual_devices: Treat one device's batch as that of this many: plain batch norm then takes its
            statistics from each part alone, as it would on so many real devices.
        precision: Lightning's precision, for example 32-true, bf16-mixed or 16-mixed.
        deterministic: Use deterministic algorithms only.
        gradient_clip_val: Clip the gradients at this value; null does not clip.
        gradient_clip_algorithm: Clip by norm or by value.
        accumulate_grad_batches: Split a global batch into this many parts computed one after the other.
        channels_last: Memory layout NHWC for convolutions (faster on CPUs and tensor cores).
        threads: CPU threads of one process.
        validations: Evaluations on the validation images, evenly spread over the budget, the last at its end.
        loss_points: Points of the training-loss curve, evenly spread over the budget.
        checkpoints: Checkpoints kept while running, evenly spread over the budget (0: none).
        fast_dev_run: Run this many batches of training and evaluation, to see that everything works.
        overfit_batches: Train on the first so many batches only, over and over (0: off).
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    virtual_devices: int = 1
    precision: str = "32-true"
    deterministic: bool = True
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: int = 1
    channels_last: bool = True
    threads: int = 1
    validations: int = 5
    loss_points: int = 50
    checkpoints: int = 10
    fast_dev_run: int = 0
    overfit_batches: int = 0


@dataclass(frozen=True)
class LoggerConfig:
    """Weights & Biases, a mirror of the run folder. No field can change a result: none enters a run's identity.

    NORMBENCH_WANDB, and then WANDB_MODE, override `wandb`. Histograms are taken while the training clock runs.

    Args:
        wandb: online, offline (sent later by `normbench wandb push`), off, or auto: online where an API key is
            configured and the server answers, else offline.
        project: W&B project.
        entity: W&B user or team; null takes the account's default.
        tags: Tags of the W&B run, besides those made from the configuration.
        x_axis: What the curves are drawn against: samples, step or epoch.
        histograms: Histograms of every layer's activations and gradients this many times, evenly spread over the
            points of the training-loss curve (0: none).
        confusion_matrix: Log the confusion matrix of the test images.
        filters: Log the filters of the first layer, as trained.
        misclassified: Log this many misclassified test images, the most confident first, as a table.
        system: Let W&B sample CPU, memory and GPU use every 15 seconds.
        finish_seconds: Longest wait for W&B to take the last rows of a run; they stay on disk in any case.
    """

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    project: str = "normbench"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    x_axis: Literal["samples", "step", "epoch"] = "samples"
    histograms: int = 0
    confusion_matrix: bool = False
    filters: bool = False
    misclassified: int = 0
    system: bool = False
    finish_seconds: float = 60.0


@dataclass(frozen=True)
class RunConfig:
    """One run. `normbench train --print_config` writes it with its defaults.

    Args:
        data: Images and batches.
        model: Architecture and normalization.
        optimizer: Optimizer, schedule and how the learning rate follows the batch size.
        budget: How long the run trains.
        trainer: Devices, precision, evaluation cadence.
        seed: Decides initial weights, the order of the batches and dropout.
        plugins: Python files that register norms or models of your own.
        logger: Weights & Biases.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    plugins: list[str] = field(default_factory=list)
    logger: LoggerConfig = field(default_factory=LoggerConfig)


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "budget": BudgetConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}

# Sections and fields that cannot change a result, and so do not enter a run's identity. Everything else does: an
# edited default gives new runs instead of re-using stale ones.
NOT_IDENTITY = frozenset({"logger", "data.dir", "data.allow_embedded", "trainer.checkpoints"})


@cache
def known_keys() -> dict[str, Any]:
    """Every dotted key of a run's configuration, with its type. The values of `dict` fields are free."""
    keys: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        keys |= {f"{name}.{key}": hint for key, hint in get_type_hints(kind).items()}
    return keys | {"seed": int, "plugins": list[str]}


def check_key(key: str) -> None:
    """Raises UsageError, naming the nearest valid key, unless `key` is one of a run's configuration."""
    parts = key.split(".")
    free = ".".join(parts[:2]) in {"model.norm_options", "model.options"}
    if key in known_keys() or (free and len(parts) > 2) or key in SECTIONS:
        return
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.6)
    if near:
        raise UsageError(f"unknown configuration key '{key}': did you mean '{near[0]}'?")
    section = parts[0] if parts[0] in SECTIONS else ""
    valid = [name for name in known_keys() if name.startswith(section + ".")] or [
        *SECTIONS,
        "seed",
        "plugins",
    ]
    raise UsageError(f"unknown configuration key '{key}': known there: {', '.join(valid)}")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested mapping; free-form option dictionaries stay whole."""
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and (dotted in SECTIONS):
            yield from flatten(value, dotted + ".")
        else:
            yield dotted, value


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as a nested dictionary of plain values."""
    return dataclasses.asdict(config)


def from_dict(tree: Mapping[str, Any]) -> RunConfig:
    """A configuration from a nested dictionary whose values were checked before; missing keys are defaults."""
    for key, _ in flatten(tree):
        check_key(key)
    sections = {name: kind(**tree.get(name, {})) for name, kind in SECTIONS.items() if name in tree}
    return RunConfig(**{**tree, **sections})


def replace(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """`config` with dotted keys replaced. Setting one budget unsets the others."""
    if not changes:
        return config
    by_section: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if name:
            by_section.setdefault(section, {})[name] = value
        elif section in SECTIONS:
            by_section.setdefault(section, {}).update(value)
        else:
            top[section] = value
    for section, values in by_section.items():
        old = getattr(config, section)
        plain: dict[str, Any] = {}
        for name, value in values.items():
            head, _, option = name.partition(".")
            plain[head] = {**plain.get(head, getattr(old, head)), option: value} if option else value
        if section == "budget" and any(value is not None for value in plain.values()):
            old = BudgetConfig()
        top[section] = dataclasses.replace(old, **plain)
    return dataclasses.replace(config, **top)


def load_yaml(path: Path, what: str) -> dict[str, Any]:
    """A YAML mapping read from `path`. A key given twice, or anything but a mapping, raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no {what} at {path}: check the path") from None
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {what} {path}: it is not text in UTF-8") from None
    try:
        tree = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{path}{where}: {problem}") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: a {what} is a mapping of keys to values, not {type(tree).__name__}")
    return tree


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML itself lets a second key win silently; a duplicate axis must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key}' is given twice: keep one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# 1e-3 is a string in YAML 1.1, which would surprise everyone who writes a learning rate.
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


@cache
def plugin_digest(path: str) -> str:
    """The content of a plugin enters the identity: edited code must not re-use old runs."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"plugin {path}: {error.strerror}; give a path that exists") from None


def section_identity(section: str, value: Any) -> str:
    """The part of a run's identity that one section of its configuration decides, as canonical JSON."""
    if section == "plugins":
        return json.dumps([plugin_digest(path) for path in value])
    if section not in SECTIONS:
        return json.dumps(value)
    kept = {f.name: getattr(value, f.name) for f in fields(value) if f"{section}.{f.name}" not in NOT_IDENTITY}
    return json.dumps(kept, sort_keys=True, default=str)


def run_id(config: RunConfig) -> str:
    """Sixteen hexadecimal digits that stand for the full resolved configuration, less NOT_IDENTITY."""
    named = [f.name for f in fields(config) if f.name not in NOT_IDENTITY]
    return identity_hash(section_identity(name, getattr(config, name)) for name in named)


def identity_hash(parts: Iterator[str]) -> str:
    """The hash of the canonical JSON of all sections, in the order of RunConfig's fields."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
