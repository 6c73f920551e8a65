"""normbench: one run as a worker of a study trains it, with its curve points; evaluation and checkpoints left out."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import asked, synchronize, tell, wait_for_go

from normbench.spec import resolve, run_config, run_id
from normbench.study.cost import Enough, Meter
from normbench.train import train

MODELS = {
    "digit_cnn": {"model.name": "digit_cnn"},
    "strided_cnn": {"model.name": "strided_cnn"},
    "mlp": {"model.name": "mlp", "model.hidden": [128, 128]},
}
SAMPLES = 4_000_000  # more than can be trained on while it is timed
POINT = 400  # images between two points of the curve: 50 of them in a run of 20,000 images, as by default


def keys(model: str, norm: str, batch: int) -> dict[str, object]:
    """The run that is timed, as dotted keys."""
    return {
        **MODELS[model],
        "model.norm": norm,
        "data.batch_size": batch,
        "data.allow_embedded": False,
        "optimizer.name": "adam",
        "optimizer.lr": 1e-3,
        "budget.samples": SAMPLES,
        "trainer.validations": 0,
        "trainer.checkpoints": 0,
        "trainer.loss_points": SAMPLES // max(POINT, batch),
    }


def main() -> None:
    ask = asked()
    config = resolve(run_config(keys(ask["model"], ask["norm"], ask["batch"])))
    meter = Meter(ask["seconds"], begin=wait_for_go, wait=synchronize)
    with tempfile.TemporaryDirectory() as root:
        try:
            train(config, Path(root, run_id(config)), meter)
        except Enough:
            tell(meter.steps * ask["batch"] / meter.seconds)


if __name__ == "__main__":
    main()
