"""Normalization layers behind one call: `build_norm(name, num_channels, **options)`. No torch before it is called."""

from normbench.norms.combined import combined
from normbench.norms.facts import Extent, Facts
from normbench.norms.known import register_builtin
from normbench.norms.placement import Norms
from normbench.norms.registry import build_norm, facts, register_norm
from normbench.spec.registry import NORMS

register_builtin()
NORMS.compound = combined
NORMS.aliases["ghost_batch"] = "ghost"

__all__ = ["NORMS", "Extent", "Facts", "Norms", "build_norm", "facts", "register_norm"]
