"""The launchers that normbench has. Their engines are imported by those who use them."""

from normbench.launch.launcher import LAUNCHERS
from normbench.launch.local import LocalLauncher
from normbench.launch.ray import RayLauncher
from normbench.launch.slurm import SlurmLauncher
from normbench.spec.registry import entry_of

HANDED = ("work", "wait")  # set by commands and tests, not by a user

LAUNCHERS.add(entry_of("local", LocalLauncher, handed=HANDED))
LAUNCHERS.add(entry_of("slurm", SlurmLauncher, handed=HANDED))
LAUNCHERS.add(entry_of("ray", RayLauncher, handed=HANDED))
