"""Tests of claims leave nothing registered."""

import pytest


@pytest.fixture(autouse=True)
def _forgets_plugins(own_registries: None) -> None:
    """What the plug-ins of studies register."""
