"""Which entries share a statistic, measured for every norm, against what is known of it."""

import numpy as np
import pytest

from normbench.norms import NORMS, facts
from normbench.norms.sharing import shared_entries

OTHERWISE = {
    "local_response": "the last channel, which is drawn, has half a window; the facts are of one in the middle",
    "switchable": "three sets that cross: the facts give the block around them",
    "online_norm": "the first image, which is drawn, meets the statistics of those before it",
    "filter_response": "a closed gate passes nothing on from the entry that is drawn",
}
OPTIONS = {"group": {"groups": 2}, "ghost": {"size": 4}}


@pytest.mark.parametrize("name", list(NORMS))
def test_as_many_entries_share_as_the_facts_say(name: str) -> None:
    if name in OTHERWISE:
        pytest.skip(OTHERWISE[name])
    options = OPTIONS.get(name, {})
    found, known = shared_entries(name, options), facts(name, options)
    images, channels, positions = found.shape
    expected = known.images.of(images) * known.channels.of(channels) * known.positions.of(positions)
    assert found.sum() == expected
    assert found[0, -1, -1]


def test_a_norm_with_larger_parts_gets_a_larger_block() -> None:
    found = shared_entries("group", {"groups": 8})
    assert found.shape[1] == 16
    assert np.flatnonzero(found.any((0, 2))).tolist() == [14, 15]
    assert shared_entries("ghost", {"size": 8}).shape[0] == 16
