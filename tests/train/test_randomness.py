"""What a network draws while it trains follows the seed of its run, or is refused."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normbench.errors import UsageError
from normbench.spec import resolve, run_config, run_id
from normbench.train import train
from normbench.train.randomness import check_repeats


class Noisy(nn.Module):
    """Multiplied by what is drawn in training."""

    def __init__(self, draw: Callable[[Tensor], Tensor | float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return x * self.draw(x) if self.training else x


REPEATED: dict[str, Callable[[Tensor], Tensor | float]] = {
    "torch": lambda x: torch.rand(x.shape),
    "dropout": lambda x: F.dropout(torch.ones_like(x)),
    "numpy": lambda x: np.random.rand(),
    "python": lambda x: random.random(),
    "nothing": lambda x: 1.0,
}
UNREPEATED: dict[str, Callable[[Tensor], Tensor | float]] = {
    "numpy": lambda x: np.random.default_rng().random(),
    "python": lambda x: random.SystemRandom().random(),
    "the system": lambda x: os.urandom(1)[0] / 255 + os.urandom(1)[0],
    "torch": lambda x: torch.rand(1, generator=(g := torch.Generator(), g.seed())[0]),
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_the_seed_repeats_is_taken(name: str) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_repeats(Noisy(REPEATED[name]), torch.ones(2, 1, 3, 3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", UNREPEATED)
def test_what_no_seed_repeats_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="draws random numbers that the seed of a run does not repeat"):
        check_repeats(Noisy(UNREPEATED[name]), torch.ones(2, 1, 3, 3))


def test_a_plug_in_norm_with_draws_of_the_system_is_refused_by_the_plan(tmp_path: Path) -> None:
    """The same run gave other numbers each time, under one id; and what its statistics are of was told by chance."""
    plugin = tmp_path / "shaky.py"
    plugin.write_text(
        "import os\nfrom torch import nn\nfrom normbench import register_norm\n\n@register_norm('shaky')\n"
        "class Shaky(nn.GroupNorm):\n    def __init__(self, num_channels: int):\n"
        "        super().__init__(1, num_channels)\n\n"
        "    def forward(self, x):\n        return super().forward(x) * (0.5 + os.urandom(1)[0] / 255)\n"
    )
    keys = {"data.name": "mnist_5k", "model.name": "mlp", "budget.steps": 2, "plugins": [str(plugin)]}
    with pytest.raises(UsageError, match="norm 'shaky' draws random numbers that the seed of a run does not repeat"):
        resolve(run_config({**keys, "model.norm": "shaky"}))


def test_a_plug_in_model_with_draws_of_the_system_is_refused_before_it_trains(tmp_path: Path) -> None:
    plugin = tmp_path / "shaky.py"
    plugin.write_text(
        "import random\nfrom torch import nn\nfrom normbench import register_model\n\n"
        "class Shaky(nn.Linear):\n    def forward(self, x):\n"
        "        return super().forward(x) * (0.5 + random.SystemRandom().random())\n\n"
        "@register_model('shaky')\ndef shaky(image, classes, norms):\n"
        "    first = nn.Linear(image[0] * image[1] * image[2], 8)\n"
        "    parts = [part for _, part in norms.after(first, nn.ReLU(), 8)]\n"
        "    return nn.Sequential(nn.Flatten(), first, *parts, Shaky(8, classes))\n"
    )
    keys = {"data.name": "mnist_5k", "model.norm": "none", "budget.steps": 2, "plugins": [str(plugin)]}
    config = resolve(run_config({**keys, "model.name": "shaky"}))
    with pytest.raises(UsageError, match="the network draws random numbers that the seed of a run does not repeat"):
        train(config, tmp_path / run_id(config))
