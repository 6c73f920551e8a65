"""Tests of claims leave nothing registered."""

import sys
from collections.abc import Iterator

import pytest

from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES


@pytest.fixture(autouse=True)
def _forgets_plugins() -> Iterator[None]:
    """Takes back what the plug-ins of studies registered: tests elsewhere go over all that is."""
    known = {registry: set(registry) for registry in (NORMS, MODELS, DATASETS, OPTIMIZERS, PROBES)}
    loaded = set(sys.modules)
    yield
    for registry, names in known.items():
        for name in set(registry) - names:
            registry.remove(name)
    for name in set(sys.modules) - loaded:
        if name.startswith("normbench_plugin_"):  # a study that is read again registers anew
            del sys.modules[name]
