"""A trained run scored anew, from the weights that it kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from normbench.data.module import MNISTDataModule
from normbench.errors import RunFolderError
from normbench.spec import from_dict
from normbench.spec.resolve import resolve
from normbench.store.folder import RunFolder
from normbench.train.callbacks.recorder import stage_metrics
from normbench.train.corrupted import corrupted_metrics
from normbench.train.module import NormClassifier
from normbench.train.run import surroundings
from normbench.train.trainer import build_trainer


def evaluated(run: RunFolder, corruptions: Sequence[str] = ()) -> dict[str, float]:
    """Test metrics of a run's kept weights, on one device: accuracy and calibration error (fractions), NLL (nats).

    Args:
        run: The run.
        corruptions: Changes of the test images to evaluate on besides; none: those of the run itself.

    Raises:
        RunFolderError: The weights cannot be read.
    """
    config = from_dict(run.config())
    trainer = dataclasses.replace(config.trainer, corruptions=list(corruptions) or config.trainer.corruptions)
    config = resolve(dataclasses.replace(config, trainer=trainer))
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, devices=1, num_nodes=1))
    with surroundings(config):
        try:
            module = NormClassifier.load_from_checkpoint(run.weights_path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for what is no checkpoint
            raise RunFolderError(f"{run.weights_path} cannot be read: {error}") from None
        if config.trainer.precision == "64-true":
            module.double()
        tester, data = build_trainer(config, [], 1), MNISTDataModule.from_config(config.data, config.seed)
        tester.test(module, datamodule=data, verbose=False)
        return stage_metrics(tester, "test_") | corrupted_metrics(config, module, data)
