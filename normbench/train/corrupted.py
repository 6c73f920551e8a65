"""Test accuracy on images that are changed."""

from __future__ import annotations

import math

from normbench.data.module import MNISTDataModule
from normbench.spec.corruptions import corruptions
from normbench.spec.schema import RunConfig
from normbench.train.callbacks.recorder import stage_metrics
from normbench.train.module import NormClassifier
from normbench.train.trainer import build_trainer


def corrupted_metrics(
    config: RunConfig, module: NormClassifier, data: MNISTDataModule, whole: bool = True
) -> dict[str, float]:
    """`test_accuracy_noise` and the like, of each of `trainer.corruptions`. Every process has to call it.

    Args:
        config: The resolved run.
        module: The trained network.
        data: Its data.
        whole: Whether the run is finite; all is NaN where not.
    """
    found: dict[str, float] = {}
    for how in corruptions(config.trainer.corruptions, "trainer.corruptions"):
        found[f"test_accuracy_{how.kind}"] = math.nan
        if whole:
            trainer = build_trainer(config, [], 1)
            data.corruption = how
            try:
                trainer.test(module, datamodule=data, verbose=False)
            finally:
                data.corruption = None
            found[f"test_accuracy_{how.kind}"] = stage_metrics(trainer, "test_")["test_accuracy"]
    return found
