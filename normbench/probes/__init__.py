"""Probes: measurements that a run can switch on. A probe measures and changes nothing; see `contract`."""

from normbench.probes import layers  # noqa: F401  (importing it registers its probe)
from normbench.probes.contract import Measurement, Moment, Probe, digest, register_probe

__all__ = ["Measurement", "Moment", "Probe", "digest", "register_probe"]
