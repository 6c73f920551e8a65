"""What every norm has to do, whatever its formula."""

from typing import Any

import torch
from torch import Tensor

from tests.norms.cases import build, images


def few_images(layout: str) -> Tensor:
    """Few enough positions for finite differences, in float64."""
    x = images(layout, dtype=torch.float64)
    return x[..., :2, :2] if layout == "image" else x[..., :3] if layout == "tokens" else x


def check_half_precision(name: str, layout: str, options: dict[str, Any]) -> None:
    """Half precision, mixed and pure, stays, and is close to single; double stays double."""
    x = images(layout, dtype=torch.bfloat16)
    right = build(name, options)(x.float())
    for layer in (build(name, options), build(name, options).bfloat16()):  # mixed and pure
        for training in (True, False):
            assert layer.train(training)(x).dtype == torch.bfloat16
    y = build(name, options)(x)
    torch.testing.assert_close(y.float(), right, rtol=2**-7, atol=2**-7)
    assert build(name, options).double()(x.double()).dtype == torch.float64


def check_channels_last(
    name: str, layout: str, options: dict[str, Any], values: dict[str, float], state: dict[str, float]
) -> Tensor:
    """The other memory layout stays, and gives the same output and state. Gives the output of the contiguous one.

    Args:
        name: The norm.
        layout: Of the input.
        options: Of the norm.
        values: Tolerances of the output.
        state: Tolerances of the state; torch's own where it is empty.
    """
    layer, other = build(name, options), build(name, options)
    x = images(layout)
    y, right = other(x.to(memory_format=torch.channels_last)), layer(x)
    torch.testing.assert_close(y, right, **values)
    for (key, one), two in zip(layer.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, msg=key, **state)
    assert y.is_contiguous(memory_format=torch.channels_last)
    return right
