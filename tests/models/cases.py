"""Every registered model in a size that a test can train, and which norm fits it."""

from typing import Any

from normbench.errors import UsageError
from normbench.spec import RunConfig, resolve, run_config

# Options that make a model small; presets that are small already have none.
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [8, 16], "hidden": [16], "stride": 2},
    "digit_cnn": {"channels": [8, 16], "hidden": [16], "stride": 2},
    "digit_cnn_bn": {"channels": [8, 16], "hidden": [16], "stride": 2, "dropout": 0.0},
    "strided_cnn": {"channels": [8, 16, 16]},
    "mlp": {"hidden": [32]},
    "resnet": {"blocks": [1, 1], "width": 8, "preactivation": True},
    "resnet8": {"width": 8, "shortcut": "projection"},
    "resnet20": {"width": 8, "zero_gamma": True},
    "plain": {"blocks": [1, 1], "width": 8},
    "vit": {"width": 16, "depth": 1, "heads": 2, "patch": 7},
    "convnext": {"blocks": [1, 1], "width": 8, "patch": 4},
    "convnext_tiny": {"width": 8, "patch": 4},
}
NORM_OPTIONS: dict[str, dict[str, Any]] = {"group": {"groups": 2}, "evonorm_s0": {"groups": 2}, "ghost": {"size": 4}}


def small(model: str, norm: str) -> RunConfig | str:
    """A resolved run of a small `model` with `norm` on mnist_5k, or the reason why `plan` refuses the pair."""
    keys = {"name": model, "norm": norm, "norm_options": NORM_OPTIONS.get(norm, {}), **SMALL.get(model, {})}
    try:
        return resolve(run_config({"model": keys, "data": {"name": "mnist_5k", "batch_size": 16}}))
    except UsageError as error:
        return str(error)
