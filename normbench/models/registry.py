"""The registry of models. Builders import torch inside, so that studies are planned without it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from normbench.errors import UsageError
from normbench.models.layer import Layer, Shape
from normbench.norms import Norms
from normbench.spec.registry import MODELS, NORMS, Entry, entry_of
from normbench.spec.schema import ModelConfig, hints

if TYPE_CHECKING:
    from torch import nn

HANDED = ("image", "classes", "norms", "config")  # parameters that a builder is given; all others are its options
IMAGE: Shape = (1, 28, 28)
CLASSES = 10
Builder = TypeVar("Builder", bound=Callable[..., Any])


def register_model(
    name: str,
    *,
    norm: str = "batch",
    layers: Callable[..., Iterable[Layer]] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    branches: bool = False,
) -> Callable[[Builder], Builder]:
    """Decorator that adds a model to the registry.

    A model is either a function, or a class (a dataclass of its options) with a method `build`, and perhaps a method
    `layers` that yields its layers without torch. Parameters called `image` (C, H, W), `classes` and `norms` are
    handed over; every other parameter of the function, or of the class, is an option that a configuration can set.

    Example:
        >>> @register_model("two_layers")
        ... def two_layers(image, classes, norms, *, width: int = 64):
        ...     from torch import nn
        ...
        ...     first = nn.Linear(image[0] * image[1] * image[2], width)
        ...     parts = norms.after(first, nn.ReLU(), width)
        ...     return nn.Sequential(nn.Flatten(), first, *(part for _, part in parts), nn.Linear(width, classes))

    Args:
        name: Name of the model.
        norm: The norm where a configuration names none.
        layers: For a function: another one with the same parameters that yields its layers as plain data.
        presets: Further names, each with its own default values of options (and of `norm`).
        branches: Whether it builds residual branches as `norms.branch` says, where that is not None: a method that
            does without norm (skip_init, fixup) is refused by all others.
    """

    def add(build: Builder) -> Builder:
        for key, values in {name: {}, **(presets or {})}.items():
            defaults = {option: value for option, value in values.items() if option != "norm"}
            facts = {"norm": values.get("norm", norm), "layers": _Layers(build, layers), "branches": branches}
            MODELS.add(entry_of(key, build, handed=HANDED, defaults=defaults, facts=facts))
        own = MODELS.get(name).options
        if clash := sorted(own.keys() & hints("model").keys()):
            MODELS.remove(name)
            raise UsageError(f"model '{name}': an option cannot be called {clash[0]}: that is a key of every model")
        return build

    return add


class _Layers:
    """Yields a model's layers from a resolved configuration."""

    def __init__(self, build: Callable[..., Any], layers: Callable[..., Iterable[Layer]] | None) -> None:
        self.build, self.layers = build, layers

    def __call__(self, model: ModelConfig, image: Shape, classes: int) -> list[Layer] | None:
        norms = Norms(str(model.norm), model.norm_options)
        if norms.branch is not None and not MODELS.get(model.name).facts["branches"]:
            able = ", ".join(name for name in MODELS if MODELS.get(name).facts["branches"])
            raise UsageError(
                f"model.norm={norms.name} changes the branches of a residual network, and model '{model.name}' builds "
                f"none for it: choose a model that does ({able}), or another norm"
            )
        if self.layers is not None:
            return list(_called(self.layers, model, image, classes, norms))
        if inspect.isclass(self.build) and hasattr(self.build, "layers"):
            chosen: Any = self.build(**model.options)
            return list(chosen.layers(image, classes, norms))
        return None


def _called(function: Callable[..., Any], model: ModelConfig, image: Shape, classes: int, norms: Norms) -> Any:
    handed = {"image": image, "classes": classes, "norms": norms, "config": model}
    wanted = inspect.signature(function).parameters
    return function(**{name: value for name, value in handed.items() if name in wanted}, **model.options)


def built(entry: Entry, model: ModelConfig, image: Shape, classes: int, norms: Norms) -> nn.Module:
    """The network of a resolved configuration."""
    found: nn.Module
    if inspect.isclass(entry.build) and hasattr(entry.build, "build"):
        chosen: Any = entry.build(**model.options)
        found = chosen.build(image, classes, norms)
    else:
        found = _called(entry.build, model, image, classes, norms)
    return found


def completed(model: ModelConfig) -> ModelConfig:
    """A model's section with its norm and all options filled in, without the checks of a whole run."""
    entry = MODELS.get(model.name)
    norm = NORMS.get(model.norm or entry.facts["norm"]).name
    norm_options = NORMS.get(norm).chosen(model.norm_options, "model.norm_options")
    changes = {"norm": norm, "norm_options": norm_options, "options": entry.chosen(model.options, "model")}
    return ModelConfig(**{**{f: getattr(model, f) for f in hints("model")}, **changes})


def build_model(
    model: ModelConfig, image: Shape = IMAGE, classes: int = CLASSES, virtual_devices: int = 1
) -> nn.Module:
    """The network of a configuration: (N, *image) to logits (N, classes). Its weights are as torch draws them.

    Args:
        model: The model's section; what it leaves out takes the model's own defaults.
        image: Shape (C, H, W) of an image.
        classes: Number of classes.
        virtual_devices: See `TrainerConfig`.
    """
    resolved = completed(model)
    for layer in MODELS.get(model.name).facts["layers"](resolved, image, classes) or []:
        layer.check()
    norms = Norms(str(resolved.norm), resolved.norm_options, virtual_devices)
    return built(MODELS.get(model.name), resolved, image, classes, norms)
