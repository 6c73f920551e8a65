"""Other words for a norm: the same norm, and the same run."""

import pytest
from torch import nn

from normbench.norms import NORMS, build_norm, register_norm
from normbench.norms.subject import named_norm
from normbench.spec import resolve, run_config, run_id


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ghost_batch", "ghost"),
        ("ghost_batch + weight_std", "ghost + weight_std"),
        ("weight_std+ghost_batch", "ghost + weight_std"),
    ],
)
def test_another_word_is_the_same_run(word: str, name: str) -> None:
    keys = {"model.norm_options": {"size": 8}, "data.name": "mnist_5k", "trainer.accelerator": "cpu"}
    runs = [resolve(run_config({**keys, "model.norm": norm})) for norm in (word, name)]
    assert runs[0] == runs[1]
    assert run_id(runs[0]) == run_id(runs[1])
    assert named_norm(word).name == NORMS.get(name).name == runs[0].model.norm
    assert type(build_norm(word, 8, size=8)) is type(build_norm(name, 8, size=8))


def test_other_words_are_not_listed_and_stand_for_registered_names() -> None:
    for word, name in NORMS.aliases.items():
        assert word not in NORMS
        assert name in NORMS


@pytest.mark.usefixtures("own_registries")
def test_a_users_norm_of_that_name_goes_first() -> None:
    @register_norm("ghost_batch")
    class Own(nn.Identity):
        def __init__(self, num_channels: int) -> None:
            super().__init__()

    assert NORMS.get("ghost_batch").build is Own
