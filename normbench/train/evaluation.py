"""A trained run scored anew, from the weights that it kept."""

from __future__ import annotations

import dataclasses

from normbench.data.module import MNISTDataModule
from normbench.errors import RunFolderError
from normbench.spec import from_dict
from normbench.spec.resolve import resolve
from normbench.store.folder import RunFolder
from normbench.train.callbacks.recorder import stage_metrics
from normbench.train.module import NormClassifier
from normbench.train.run import surroundings
from normbench.train.trainer import build_trainer


def evaluated(run: RunFolder) -> dict[str, float]:
    """Test metrics of a run's kept weights, on one device: accuracy and calibration error (fractions), NLL (nats).

    Raises RunFolderError where the weights cannot be read.
    """
    config = resolve(from_dict(run.config()))
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, devices=1, num_nodes=1))
    with surroundings(config):
        try:
            module = NormClassifier.load_from_checkpoint(run.weights_path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for what is no checkpoint
            raise RunFolderError(f"{run.weights_path} cannot be read: {error}") from None
        if config.trainer.precision == "64-true":
            module.double()
        trainer = build_trainer(config, [], 1)
        trainer.test(module, datamodule=MNISTDataModule.from_config(config.data, config.seed), verbose=False)
        return stage_metrics(trainer, "test_")
