"""Models behind one call: `build_model(config)`; presets are models with other default values."""

from normbench.models import cnn, mlp  # noqa: F401  (importing them registers their models)
from normbench.models.cost import Layer, cost, layers
from normbench.models.registry import MODELS, Model, build_model, get_model, register_model, resolve_model

__all__ = [
    "MODELS",
    "Layer",
    "Model",
    "build_model",
    "cost",
    "get_model",
    "layers",
    "register_model",
    "resolve_model",
]
