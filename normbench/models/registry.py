"""The one registry of models. Builders import torch inside, so that studies are planned without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from normbench.errors import UsageError, unknown
from normbench.models.cost import Layer, Shape
from normbench.norms.registry import get_norm, norm_options
from normbench.spec.schema import ModelConfig

if TYPE_CHECKING:
    from torch import nn

IMAGE: Shape = (1, 28, 28)
CLASSES = 10
ALWAYS = frozenset({"name", "norm", "norm_options"})


@dataclass(frozen=True)
class Model:
    """What the framework knows about a model besides how to build it.

    Args:
        name: The name in a configuration.
        build: `build(config: ModelConfig, image, classes) -> nn.Module`, with every field of `config` resolved.
        defaults: Values of the configuration's fields that the model uses, where the user sets none.
        layers: The layers that `build` makes, as plain data (for checks, costs and estimates), or None where
            they are not known without building.
    """

    name: str
    build: Callable[[ModelConfig, Shape, int], nn.Module]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    layers: Callable[[ModelConfig, Shape, int], Iterable[Layer]] | None = None


MODELS: dict[str, Model] = {}


def register_model(
    name: str,
    *,
    layers: Callable[[ModelConfig, Shape, int], Iterable[Layer]] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    **defaults: Any,
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Decorator that adds a builder `f(config, image, classes) -> nn.Module` to the registry.

    Args:
        name: Name of the model.
        layers: See `Model`.
        presets: Further names, each with its own default values over those of the model.
        defaults: Default values of the configuration's fields that the model uses.
    """

    def add(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        for key, values in {name: {}, **(presets or {})}.items():
            old = MODELS.get(key)
            if old and (old.build.__module__, old.build.__qualname__) != (
                build.__module__,
                build.__qualname__,
            ):
                raise UsageError(f"model '{key}' is registered already by {old.build.__module__}: choose another name")
            MODELS[key] = Model(key, build, {"norm": "batch", **defaults, **values}, layers)
        return build

    return add


def get_model(name: str) -> Model:
    """The registered model; an unknown name raises UsageError with the nearest and all known ones."""
    try:
        return MODELS[name]
    except KeyError:
        raise UsageError(unknown("model", name, MODELS)) from None


def resolve_model(config: ModelConfig) -> ModelConfig:
    """`config` with every field that the model uses filled in and checked; fields it does not use stay null.

    Raises UsageError for unknown names, a field that the model does not have, and norms that do not fit.
    """
    model = get_model(config.name)
    given: dict[str, Any] = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for key, value in given.items():
        if value is not None and value != {} and key not in ALWAYS and key not in model.defaults:
            takes = ", ".join(sorted(model.defaults.keys() | ALWAYS))
            raise UsageError(f"model.{key}: model '{config.name}' has no {key}; it takes {takes}")
    chosen: dict[str, Any] = {key: model.defaults.get(key) if value is None else value for key, value in given.items()}
    chosen["options"] = {**(model.defaults.get("options") or {}), **config.options}
    norm = get_norm(chosen["norm"])
    known = norm_options(norm.name)
    known.pop("virtual_devices", None)  # the trainer's, so that it is one axis for all norms
    for option in config.norm_options.keys() - known.keys():
        raise UsageError("model.norm_options: " + unknown(f"option of norm '{norm.name}'", option, known))
    resolved = ModelConfig(**{**chosen, "norm_options": {**known, **config.norm_options}})
    if model.layers:
        for layer in model.layers(resolved, IMAGE, CLASSES):
            layer.check(resolved)
    return resolved


def build_model(
    config: ModelConfig, image: Shape = IMAGE, classes: int = CLASSES, virtual_devices: int = 1
) -> nn.Module:
    """The network of `config`: (N, *image) to logits (N, classes). Its weights are torch's defaults: see `init`."""
    resolved = resolve_model(config)
    assert resolved.norm is not None
    if virtual_devices > 1 and "virtual_devices" in norm_options(resolved.norm):
        options = {**resolved.norm_options, "virtual_devices": virtual_devices}
        resolved = dataclasses.replace(resolved, norm_options=options)
    return get_model(config.name).build(resolved, image, classes)
