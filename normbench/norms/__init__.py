"""Normalization layers behind one call: `build_norm(name, num_channels, spatial=True, **options)`."""

from normbench.norms import batch, group  # noqa: F401  (importing them registers their norms)
from normbench.norms.registry import NORMS, Norm, build_norm, get_norm, norm_options, register_norm

__all__ = ["NORMS", "Norm", "build_norm", "get_norm", "norm_options", "register_norm"]
