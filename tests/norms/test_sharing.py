"""Which entries share a statistic, measured for every norm, against what is known of it."""

import numpy as np
import pytest

from normbench.norms import NORMS, facts
from normbench.norms.sharing import patterns, shared_entries

OTHERWISE = {
    "switchable": "three sets that cross: the facts give the block around them",
    "online_norm": "every image has a past of its own: below",
}
OPTIONS = {"group": {"groups": 2}, "ghost": {"size": 4}}


@pytest.mark.parametrize("name", list(NORMS))
def test_as_many_entries_share_as_the_facts_say(name: str) -> None:
    if name in OTHERWISE:
        pytest.skip(OTHERWISE[name])
    options = OPTIONS.get(name, {})
    commonest, known = patterns(name, options)[0], facts(name, options)
    found = commonest.shared
    images, channels, positions = found.shape
    expected = known.images.of(images) * known.channels.of(channels) * known.positions.of(positions)
    assert found.sum() == expected
    assert found[commonest.output]


def test_each_kind_of_output_has_a_pattern_of_its_own() -> None:
    """A window of five channels is cut off at the edges: of six channels two see all of it, and two each 4 and 3."""
    found = patterns("local_response", {})
    assert [(int(one.shared.sum()), round(6 * one.share)) for one in found] == [(5, 2), (4, 2), (3, 2)]
    for one in found:
        image, channel, position = one.output
        expected = np.zeros(one.shared.shape, np.bool_)
        expected[image, max(0, channel - 2) : channel + 3, position] = True
        assert (one.shared == expected).all()
    assert [one.output for one in found] == [(0, 3, 3), (0, 4, 3), (0, 5, 3)]
    assert len(patterns("group", {"groups": 2})) == 1


def test_a_norm_with_larger_parts_gets_a_larger_block() -> None:
    found = shared_entries("group", {"groups": 8})
    assert found.shape[1] == 16
    assert np.flatnonzero(found.any((0, 2))).tolist() == [14, 15]
    assert shared_entries("ghost", {"size": 8}).shape[0] == 16


def test_of_a_norm_of_the_past_each_image_depends_on_itself_and_on_all_positions_before() -> None:
    found = patterns("online_norm", {"decay": 0.9})
    assert [one.output[0] for one in found] == [5, 4, 3, 2, 1, 0]  # the last, which knows most, is shown first
    for one in found:
        image, channel, _ = one.output
        expected = np.zeros(one.shared.shape, np.bool_)
        expected[:image, channel] = True
        expected[one.output] = True
        assert (one.shared == expected).all()
