"""Networks behind one call, `build_model(config)`; presets are models with other default values."""

from normbench.models import cnn, convnext, mlp, resnet, vit  # noqa: F401  (importing them registers their models)
from normbench.models.layer import Layer, Site, macs
from normbench.models.registry import build_model, register_model

__all__ = ["Layer", "Site", "build_model", "macs", "register_model"]
