"""The worked examples in the docstrings of the room."""

import doctest
import re
from importlib import import_module

import pytest

from normbench.norms import NORMS
from normbench.norms.known import FAMILIES
from tests.norms.cases import builtin


@pytest.mark.parametrize("name", [*FAMILIES, "facts", "placement", "registry", "words", "check", "contract"])
def test_examples_give_what_they_show(name: str) -> None:
    result = doctest.testmod(import_module(f"normbench.norms.{name}"))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", sorted(builtin()))
def test_every_norm_has_an_example_and_a_source(name: str) -> None:
    build = NORMS.get(name).build
    doc = (build.load() if hasattr(build, "load") else build).__doc__
    assert ">>>" in doc
    assert "Source:" in doc or name == "none"


PLACE = re.compile(r"\b(section|equation|algorithm|figure|appendix)", re.IGNORECASE)
# Papers of which no place was looked up, and what is no paper's.
WITHOUT_A_PLACE = {"none", "simple", "detached_layer", "batch_instance"}


@pytest.mark.parametrize("name", sorted(builtin()))
def test_a_source_says_where_in_the_paper(name: str) -> None:
    build = NORMS.get(name).build
    doc = (build.load() if hasattr(build, "load") else build).__doc__
    source = doc.partition("Source:")[2].split("\n\n")[0]
    assert bool(PLACE.search(source)) == (name not in WITHOUT_A_PLACE), source
