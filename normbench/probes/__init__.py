"""Probes: measurements that a run can switch on. A probe measures and changes nothing; see `contract`."""

from normbench.probes import (  # noqa: F401  (importing them registers their probes)
    activations,
    calibration,
    covariate_shift,
    gradients,
    layers,
    rank,
    robustness,
    smoothness,
    statistics,
)
from normbench.probes.contract import Measurement, Moment, Probe, Samples, digest, register_probe

__all__ = ["Measurement", "Moment", "Probe", "Samples", "digest", "register_probe"]
