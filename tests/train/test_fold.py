"""Norms folded into the layers before them: the same function, and only where it is the same."""

import pytest
import torch
from torch import nn

from normbench.models import build_model
from normbench.seeds import generator
from normbench.spec.schema import ModelConfig
from normbench.train.fold import affine, folded

IMAGES = torch.randn(8, 1, 28, 28, generator=generator(0, "images"))


def trained(name: str, norm: str, **options: object) -> nn.Module:
    """A network whose norms have moved."""
    torch.manual_seed(0)
    net = build_model(ModelConfig(name, norm=norm, options=options))
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for _ in range(3):
        net(2 * torch.randn(8, 1, 28, 28) + 1)
    return net.eval().double()


def test_one_layer_by_hand() -> None:
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(1, 1, 1, bias=False))
    net.add_module("norm", nn.BatchNorm2d(1, eps=0.0))
    net.conv.weight.data.fill_(3.0)
    for key, value in {"running_mean": 5.0, "running_var": 4.0, "weight": 6.0, "bias": 7.0}.items():
        getattr(net.norm, key).data.fill_(value)
    made, names = folded(net, torch.randn(2, 1, 2, 2))
    assert names == ["norm"]
    assert made.get_parameter("conv.weight").item() == pytest.approx(9.0)  # 6 / sqrt(4) x 3
    assert made.get_parameter("conv.bias").item() == pytest.approx(-8.0)  # 7 - 6 / sqrt(4) x 5
    assert net.conv.bias is None


@pytest.mark.parametrize(
    ("name", "norm", "options", "count"),
    [
        ("cnn", "batch", {"channels": [4, 8], "norm_linear": True}, 3),
        ("cnn", "batch", {"channels": [4, 8], "norm_position": "after"}, 0),
        ("cnn", "batch + weight_std", {"channels": [4, 8]}, 2),
        ("cnn", "batch_renorm", {"channels": [4, 8], "bias": "always"}, 2),
        ("cnn", "group", {"channels": [8, 8]}, 0),
        ("resnet", "batch", {"blocks": [1, 1], "width": 4, "shortcut": "projection"}, 6),
        ("resnet", "batch", {"blocks": [1], "width": 4, "preactivation": True}, 1),
        ("resnet", "fixup", {"blocks": [1, 1], "width": 4}, 3),  # not those behind a multiplier
        ("resnet", "skip_init + weight_std", {"blocks": [1, 1], "width": 4}, 0),
        ("cnn", "iter_norm", {"channels": [8, 8]}, 0),
        ("vit", "batch", {"width": 8, "depth": 1, "heads": 2, "patch": 7}, 0),
    ],
)
def test_a_folded_network_computes_the_same(name: str, norm: str, options: dict[str, object], count: int) -> None:
    net = trained(name, norm, **options)
    images = IMAGES.double()
    made, names = folded(net, images)
    assert len(names) == count
    torch.testing.assert_close(made(images), net(images), rtol=1e-9, atol=1e-9)
    for one in names:
        assert isinstance(made.get_submodule(one), nn.Identity)


def test_what_is_no_straight_line_is_not_folded() -> None:
    x = torch.randn(4, 3, 5, 5)
    assert affine(nn.GroupNorm(1, 3), x) is None
    assert affine(nn.Tanh(), x) is None
    assert affine(nn.BatchNorm2d(3), x) is not None
