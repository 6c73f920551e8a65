"""A second evaluation, with running averages recomputed over training images.

Running averages lag behind the weights and are noisy. Evaluated with statistics of the final weights, a network shows
what training came to; the difference from the first evaluation is what the averages cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from torch import nn

from normbench.data.module import MNISTDataModule
from normbench.models.averages import averaging, recomputed
from normbench.models.dropout import Rows, SeededDropout
from normbench.seeds import generator
from normbench.spec.counts import validates
from normbench.spec.schema import RunConfig
from normbench.train.callbacks.recorder import stage_metrics
from normbench.train.module import NormClassifier
from normbench.train.trainer import build_trainer

SHOWN = ("accuracy", "nll")


def precise_metrics(
    config: RunConfig, module: NormClassifier, data: MNISTDataModule, metrics: dict[str, float], whole: bool
) -> dict[str, float]:
    """`test_accuracy_precise`, `test_nll_precise` and the same of validation; nothing where they are not asked for.

    A network without running averages has the numbers of its first evaluation, so that norms compare. Every process
    has to call it. The module's buffers are afterwards as they were.

    Args:
        config: The resolved run.
        module: The trained network.
        data: Its data.
        metrics: The first evaluation.
        whole: Whether the run is finite; all is NaN where not.
    """
    if not config.trainer.precise_statistics:
        return {}
    stages = ["test", *(["val"] if validates(config) else [])]
    names = [f"{stage}_{name}" for stage in stages for name in SHOWN]
    if not whole:
        return {f"{name}_precise": math.nan for name in names}
    found = {name: metrics[name] for name in names}
    if averaging(module.net):
        recomputed = Recomputed(config.trainer.precise_statistics, module, data)
        trainer = build_trainer(config, [recomputed], 1)
        with kept_buffers(module.net):
            trainer.test(module, datamodule=data, verbose=False)
            found |= stage_metrics(trainer, "test_")
            if "val" in stages:
                trainer.validate(module, datamodule=data, verbose=False)
                found |= stage_metrics(trainer, "val_")
    return {f"{name}_precise": found[name] for name in names}


@contextmanager
def kept_buffers(net: nn.Module) -> Iterator[None]:
    """Leaves all buffers as they were."""
    kept = {name: buffer.detach().clone() for name, buffer in net.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                buffer.copy_(kept[name])


class Recomputed(pl.Callback):
    """Recomputes the running averages, once, when an evaluation begins: the network is on its device then.

    The plain mean over batches of the run's size and division (devices, virtual devices, accumulated parts), in
    training mode and without gradient, of the batches' means and of their unbiased variances: what the running
    averages are of, but equally weighted and of the final weights (Wu & Johnson 2021, arXiv 2105.07576, section 3.2;
    momentum null in torch). The variance of the batches' means is not added. Batches and dropout follow the run's
    seed. All processes take the averages of the first, as in every evaluation.

    Args:
        images: Training images; whole batches, one at least, all at most.
        module: The network.
        data: Its data.
    """

    def __init__(self, images: int, module: NormClassifier, data: MNISTDataModule) -> None:
        self.images, self.module, self.data, self._done = images, module, data, False

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._done:
            return
        self._done = True
        with recomputed(self.module.net), torch.no_grad(), trainer.precision_plugin.forward_context():
            self._pass(trainer, self.module.net)

    def _pass(self, trainer: pl.Trainer, net: nn.Module) -> None:
        data, world, parts = self.data, trainer.world_size, trainer.accumulate_grad_batches
        split = data.split("train")
        size = data.batch_size
        order = torch.randperm(len(split), generator=generator(data.seed, "precise"))
        dropouts = [module for module in net.modules() if isinstance(module, SeededDropout)]
        own = size // parts // world
        for batch in range(max(1, min(self.images, len(split)) // size)):
            for part in range(parts):
                place = part * own * world + trainer.global_rank * own
                start = batch * size + place
                images, _ = data.batch(split, order[start : start + own])
                for dropout in dropouts:
                    # Masks that no step of training had.
                    dropout.rows = Rows(data.seed, 2**31 + batch, place, size)
                net(trainer.precision_plugin.convert_input(images.to(self.module.device)))
