"""Which launcher trains a study, and with which options: the study's, the machine's, the command line's.

None of it is part of a run's identity.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from normbench.errors import UsageError, unknown
from normbench.launch.launcher import LAUNCHERS, Launcher
from normbench.spec.document import read_yaml
from normbench.spec.values import at_home
from normbench.study import Study

VARIABLE = "NORMBENCH_MACHINE"
KEYS = ("launcher", "launch")


@dataclass(frozen=True)
class Chosen:
    """A launcher's name and the options that somebody set.

    Example:
        >>> str(Chosen("slurm", {"partition": "main", "pack": 4}))
        'slurm (partition=main, pack=4)'
    """

    name: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name} ({told})" if told else self.name

    def build(self, **handed: Any) -> Launcher:
        """The launcher. Raises UsageError where it needs a package that is not installed."""
        entry = LAUNCHERS.get(self.name)
        return cast(Launcher, entry.build(**entry.chosen(self.options, f"launch.{self.name}"), **handed))


def chosen(
    study: Study,
    name: str | None = None,
    given: Mapping[str, Any] | None = None,
    machine: Path | None = None,
) -> Chosen:
    """The launcher of a study on this machine. Raises UsageError for a name or an option that there is not.

    Args:
        study: The study; its `launch` is the weakest.
        name: The launcher; None: the machine's, or else local.
        given: Options of the command line, the strongest.
        machine: The machine's file, with the keys `launcher` and `launch`; None: the one that NORMBENCH_MACHINE names.
    """
    machine = machine or (at_home(os.environ[VARIABLE], VARIABLE) if os.environ.get(VARIABLE) else None)
    tree = read_yaml(machine, "machine's file") if machine else {}
    for key in tree:
        if key not in KEYS:
            raise UsageError(f"{machine}: {unknown('key of a machine', key, KEYS)}")
    name = name or str(tree.get("launcher") or "local")
    LAUNCHERS.get(name)
    options = {
        **_options(study.launch, str(study.path)).get(name, {}),
        **_options(tree.get("launch") or {}, str(machine)).get(name, {}),
        **(given or {}),
    }
    values = LAUNCHERS.get(name).chosen(options, f"launch.{name}")
    return Chosen(name, {key: values[key] for key in options})


def _options(written: Any, where: str) -> dict[str, dict[str, Any]]:
    """`launch` as written, checked for all launchers, so that a mistake shows before the day it is used."""
    if not isinstance(written, dict):
        raise UsageError(f"{where}: launch is a mapping of launchers to their options, not {written!r}")
    for name, options in written.items():
        if name not in LAUNCHERS:
            raise UsageError(f"{where}: launch: {unknown('launcher', name, LAUNCHERS)}")
        if not isinstance(options, dict):
            raise UsageError(f"{where}: launch.{name} is a mapping of options to values, not {options!r}")
        try:
            LAUNCHERS.get(name).chosen(options, f"launch.{name}")
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return written
