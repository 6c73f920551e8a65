"""A trained run scored anew, from the weights that it kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from normbench.data.module import MNISTDataModule
from normbench.errors import RunFolderError
from normbench.spec import from_dict, run_id, to_dict
from normbench.spec.resolve import resolve
from normbench.spec.schema import RunConfig
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
    config = one_device(to_dict(dataclasses.replace(config, trainer=trainer)))
    with surroundings(config):
        module = loaded(run, config)
        tester, data = build_trainer(config, [], 1), MNISTDataModule.from_config(config.data, config.seed)
        tester.test(module, datamodule=data, verbose=False)
        return stage_metrics(tester, "test_") | corrupted_metrics(config, module, data)


def one_device(tree: Mapping[str, Any]) -> RunConfig:
    """A stored configuration, resolved, on one device."""
    config = resolve(from_dict(tree))
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, devices=1, num_nodes=1))


def loaded(run: RunFolder, config: RunConfig) -> NormClassifier:
    """The network with a run's kept weights.

    Raises:
        RunFolderError: They cannot be read, or a file of the run's, a plug-in, say, is no longer what it was trained
            with: what is computed would be of another network, under the run's name.
    """
    trained, now = run.trained_id(), run_id(resolve(from_dict(run.config())))
    if trained not in (None, now):
        raise RunFolderError(
            f"{run.path} was trained as run {trained}, and its config.yaml gives run {now} now: a plug-in or a data "
            "file has changed since; put it back, or train the run again"
        )
    try:
        module = NormClassifier.load_from_checkpoint(run.weights_path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        raise RunFolderError(
            f"{run.weights_path} cannot be read ({type(error).__name__}): if it is damaged, remove it and train the "
            "run again"
        ) from error
    return module.double() if config.trainer.precision == "64-true" else module
