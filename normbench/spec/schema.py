"""The configuration of one run: frozen dataclasses. Nothing here imports torch.

Sections `budget`, `trainer` and `logger` have fixed keys. `data`, `model` and `optimizer` each name something that is
registered, and carry the options that it declares, in `options`; in YAML and on the command line those stand beside
the section's own keys.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from normbench.spec.marks import NOT_IDENTITY, LeftOutAt, UsedWhen
from normbench.spec.values import Amount, Count, NonNegative, Number, Positive, Range

Precision = Literal["32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]
Init = Literal[
    "torch",
    "xavier_uniform",
    "xavier_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "normal",
    "truncated_normal",
]
SEED_LIMIT = 2**63 - 1  # what a column of a table holds
Seed = Annotated[int, Range(0, SEED_LIMIT)]


@dataclass(frozen=True)
class DataConfig:
    """Which images, in which batches.

    Args:
        name: Data set: see `normbench datasets`.
        batch_size: Global batch: the images of one optimizer step, over all devices and accumulated batches.
        train_samples: Train on a stratified subset of this many images; null takes them all.
        validation: Images taken out of the training set to validate on, stratified and the same for all seeds; null
            takes the data set's own number, 0 trains on all of them (and validates on none).
        standardize: Subtract the mean of the training images and divide by their standard deviation, channel by
            channel; false leaves the pixels between 0 and 1.
        augment: Random changes of the training images, decided by (seed, epoch, image) alone and so the same for every
            norm: crop (of the image with an eighth of its side of zeros around it), flip (left to right), crop_flip,
            or none.
        dir: Folder with the files, for example with MNIST/raw/*-ubyte as torchvision lays it out; null looks at
            NORMBENCH_DATA_DIR and the user's cache, and downloads where neither has the files.
        allow_embedded: Fall back to mnist_5k where mnist can be neither found nor downloaded.
        options: Options of the data set.
    """

    name: str = "mnist"
    batch_size: Count = 64
    train_samples: Count | None = None
    validation: Annotated[Number | None, LeftOutAt(None)] = None
    standardize: Annotated[bool, LeftOutAt(True)] = True
    augment: Annotated[Literal["none", "crop", "flip", "crop_flip"], LeftOutAt("none")] = "none"
    dir: Annotated[str | None, NOT_IDENTITY] = None
    allow_embedded: Annotated[bool, NOT_IDENTITY] = True
    options: dict[str, Any] = field(default_factory=dict)


def has_own_spread(model: ModelConfig) -> bool:
    """Whether the standard deviation of initial weights is `init_std`."""
    return model.init in ("normal", "truncated_normal")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture and normalization.

    Args:
        name: Model or preset: see `normbench models`.
        norm: Normalization: see `normbench norms`; null takes the model's own.
        norm_options: Options of the norm, for example {groups: 8} or {eps: 0.001}.
        init: How weights of convolutions and linear layers are drawn: torch (uniform within 1/sqrt(fan in)), xavier
            (Glorot & Bengio 2010, equation 16; or _normal), he (He et al. 2015, equation 10; or _uniform), lecun
            (variance 1 / fan in; or _uniform), normal with init_std, or truncated_normal (within two init_std).
        init_std: Standard deviation of init normal, and of truncated_normal before it is cut.
        init_bias: Biases of the same layers: torch (uniform within 1/sqrt(fan in)), or a number.
        options: Options of the model.
    """

    name: str = "digit_cnn"
    norm: str | None = None
    norm_options: dict[str, Any] = field(default_factory=dict)
    init: Annotated[Init, LeftOutAt("torch")] = "torch"
    init_std: Annotated[Positive | None, UsedWhen(has_own_spread), LeftOutAt(None)] = None
    init_bias: Annotated[Literal["torch"] | float, LeftOutAt("torch")] = "torch"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights move.

    Args:
        name: sgd, adam or adamw.
        lr: Learning rate at the reference batch.
        lr_scaling: How lr follows the batch size: none, sqrt or linear (lr times batch_size / reference_batch).
        reference_batch: The batch size at which lr holds as written.
        schedule: constant, cosine (to zero at the end of the budget) or step (times step_factor).
        warmup_steps: Steps of linear warm-up from zero, before the schedule.
        step_every: Fraction of the budget after which a step schedule multiplies lr once more.
        step_factor: Factor of a step schedule.
        decay_norms: Let weight decay act on gamma, beta and biases too, not on the weights of layers alone.
        options: Options of the optimizer.
    """

    name: str = "sgd"
    lr: Positive = 0.05
    lr_scaling: Literal["none", "sqrt", "linear"] = "none"
    reference_batch: Annotated[Count, UsedWhen(lambda optimizer: optimizer.lr_scaling != "none")] = 32
    schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup_steps: Number = 0
    step_every: Annotated[float, Range(0, 1, open_low=True), UsedWhen(lambda o: o.schedule == "step")] = 0.34
    step_factor: Annotated[Positive, UsedWhen(lambda optimizer: optimizer.schedule == "step")] = 0.1
    # Not its default: before the key came, everything decayed.
    decay_norms: Annotated[bool, UsedWhen(lambda o: bool(o.options.get("weight_decay"))), LeftOutAt(True)] = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BudgetConfig:
    """How long a run trains: one of the three is set; none of them means one epoch.

    Args:
        epochs: Passes over the training images (only full batches are trained on).
        steps: Optimizer steps.
        samples: Training images seen, rounded down to whole batches.
    """

    epochs: Amount | None = None
    steps: Amount | None = None
    samples: Amount | None = None


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how the run executes; most keys are Lightning's own.

    Args:
        accelerator: cpu, cuda (gpu means the same), mps, or auto: the best of them that the machine has. What auto
            becomes is part of a run's identity.
        devices: Processes (one a device) on each node; the global batch is divided among them.
        num_nodes: Nodes.
        virtual_devices: Treat one device's batch as that of this many: plain batch norm then takes its
            statistics from each part alone, as it would on so many real devices.
        precision: 32-true, 64-true, 16-mixed, bf16-mixed, 16-true or bf16-true (short: 32, 64, 16, bf16).
        deterministic: Use deterministic algorithms only.
        gradient_clip_val: Clip the gradients at this value; null does not clip.
        gradient_clip_algorithm: Clip by norm or by value.
        accumulate_grad_batches: Split a global batch into this many parts computed one after the other.
        channels_last: Memory layout NHWC for convolutions (faster on CPUs and tensor cores).
        threads: CPU threads of one process.
        gpu_share: What one device of a run takes of a GPU: with 0.25, four small runs share it.
        validations: Evaluations on the validation images, evenly spread over the budget, the last at its end.
        validation_images: Validate on this many of the validation images, stratified and always the same, and at the
            end on all of them; null takes all each time.
        loss_points: Points of the training-loss curve, evenly spread over the budget.
        checkpoints: Checkpoints kept while running, evenly spread over the budget (0: none).
        keep: Trained weights that stay in the run folder: none, last, or best (on the validation images).
        precise_statistics: After training, evaluate a second time with running averages recomputed over this many
            training images (Wu & Johnson 2021, arXiv 2105.07576, section 3.2): whole batches, one at least, all images
            at most; 0 does not.
        steps_per_execution: Optimizer steps that Lightning sees as one, at most: the same numbers to the bit at less
            cost. null chooses: up to 16 for small batches, but 1 where something looks at every step (several devices,
            accumulation, clipping, half precision, callbacks, histograms, fast_dev_run, overfit_batches).
        corruptions: Test besides on changed images, at a strength (noise, or noise=0.2): contrast, brightness, noise,
            blur, shift; results are columns test_accuracy_noise and the like.
        callbacks: Lightning callbacks registered by a plug-in, by name.
        fast_dev_run: Run this many batches of training and evaluation, to see that everything works.
        overfit_batches: Train on the first so many batches only, over and over (0: off).
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Count = 1
    num_nodes: Count = 1
    virtual_devices: Count = 1
    precision: Precision = "32-true"
    deterministic: bool = True
    gradient_clip_val: Positive | None = None
    gradient_clip_algorithm: Annotated[
        Literal["norm", "value"], UsedWhen(lambda trainer: trainer.gradient_clip_val is not None)
    ] = "norm"
    accumulate_grad_batches: Count = 1
    channels_last: bool = True
    threads: Count = 1
    gpu_share: Annotated[float, Range(0, 1, open_low=True), NOT_IDENTITY] = 1.0
    validations: Number = 5
    validation_images: Annotated[Count | None, LeftOutAt(None)] = None
    loss_points: Count = 50
    checkpoints: Annotated[Number, NOT_IDENTITY] = 10
    keep: Annotated[Literal["none", "last", "best"], NOT_IDENTITY] = "none"
    precise_statistics: Annotated[Number, LeftOutAt(0)] = 0
    steps_per_execution: Annotated[Count | None, NOT_IDENTITY] = None
    corruptions: Annotated[list[str], LeftOutAt([])] = field(default_factory=list)
    callbacks: Annotated[list[str], LeftOutAt([])] = field(default_factory=list)
    fast_dev_run: Annotated[Number, LeftOutAt(0)] = 0
    overfit_batches: Annotated[Number, LeftOutAt(0)] = 0


@dataclass(frozen=True)
class LoggerConfig:
    """Weights & Biases, a mirror of the run folder. No key can change a result: none enters a run's identity.

    NORMBENCH_WANDB, and then WANDB_MODE, override `wandb`. Histograms are taken while the training clock stands still.

    Args:
        wandb: online, offline (sent later by `normbench wandb push`), off, or auto: online where an API key is
            configured and the server answers, else offline.
        project: W&B project; null takes WANDB_PROJECT, or normbench.
        entity: W&B user or team; null takes WANDB_ENTITY, or the account's default.
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
    project: str | None = None
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    x_axis: Literal["samples", "step", "epoch"] = "samples"
    histograms: Number = 0
    confusion_matrix: bool = False
    filters: bool = False
    misclassified: Number = 0
    system: bool = False
    finish_seconds: NonNegative = 60.0


@dataclass(frozen=True)
class RunConfig:
    """One run. `normbench train --print_config` writes it with every value.

    Args:
        data: Images and batches.
        model: Architecture and normalization.
        optimizer: Optimizer, schedule and how the learning rate follows the batch size.
        budget: How long the run trains.
        trainer: Devices, precision, evaluation cadence.
        seed: Decides initial weights, the order of the batches and dropout.
        plugins: Python files that register norms, models, data sets, probes or callbacks of your own.
        probes: Measurements taken beside the training: a mapping of a probe's name to its options.
        logger: Weights & Biases.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: Seed = 0
    plugins: list[str] = field(default_factory=list)
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    logger: LoggerConfig = field(default_factory=LoggerConfig)


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "budget": BudgetConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}
TOP = ("seed", "plugins", "probes")
FREE = frozenset({"model.norm_options", "probes"})  # keys whose values are mappings of a builder's options

# What people write, and what it is.
ALIASES: dict[str, dict[Any, str]] = {
    "trainer.precision": dict.fromkeys((32, "32"), "32-true")
    | dict.fromkeys((64, "64"), "64-true")
    | dict.fromkeys((16, "16"), "16-mixed")
    | {"bf16": "bf16-mixed"},
    "trainer.accelerator": {"gpu": "cuda"},
    "model.init": {"xavier": "xavier_uniform", "glorot": "xavier_uniform", "he": "he_normal", "kaiming": "he_normal"}
    | {"lecun": "lecun_normal"},
}


@cache
def hints(section: str) -> dict[str, Any]:
    """Types of a section's own keys, annotations included; without `options`."""
    found = get_type_hints(SECTIONS[section], include_extras=True)
    return {name: hint for name, hint in found.items() if name != "options"}


def has_options(section: str) -> bool:
    """Whether a section names something that has options of its own."""
    return any(f.name == "options" for f in dataclasses.fields(SECTIONS[section]))
