"""What a reader needs to know of a metric: its name, unit and direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normbench.errors import UsageError, unknown
from normbench.spec import RunConfig
from normbench.spec.corruptions import STRENGTHS, corruptions
from normbench.spec.counts import validates

if TYPE_CHECKING:
    from normbench.stats import Criterion


@dataclass(frozen=True)
class Metric:
    """A column of the results table.

    Args:
        name: The column.
        label: What a reader calls it.
        unit: Unit in which it is shown.
        scale: By what the column is multiplied for that unit.
        digits: Decimals shown.
        higher_is_better: Its direction.
        difference_unit: Unit of a difference of two values.
    """

    name: str
    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 3
    higher_is_better: bool = False
    difference_unit: str = ""

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a share of images that are told right, the rest of which are errors."""
        return "_accuracy" in self.name

    @property
    def title(self) -> str:
        """Label with unit, for an axis or a heading."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def shown(self, value: float) -> str:
        """A value in the unit of the tables."""
        return f"{self._scaled(value):.{self.digits}f}"

    def shown_number(self, value: float) -> str:
        """A difference with its sign, in the unit of the tables."""
        return f"{self._scaled(value):+.{self.digits}f}"

    def _scaled(self, value: float) -> float:
        """In the unit of the tables, without what single precision added: counted images and means of stored
        accuracies come to one text, also half-way between two."""
        return round(value * self.scale, self.digits + 3)

    def shown_difference(self, value: float) -> str:
        """A difference with its sign and unit."""
        return f"{self.shown_number(value)} {self.difference_unit}".strip()

    def criterion(self, margin: float | None) -> Criterion:
        """How differences in this metric are judged."""
        from normbench.stats import Criterion  # brings pandas along, which a plan does not need

        return Criterion(higher_is_better=self.higher_is_better, margin=margin)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("test_accuracy", "test accuracy", "%", 100, 2, True, "points"),
        Metric("val_accuracy", "validation accuracy", "%", 100, 2, True, "points"),
        Metric("test_nll", "test negative log-likelihood", "nats", difference_unit="nats"),
        Metric("val_nll", "validation negative log-likelihood", "nats", difference_unit="nats"),
        Metric("test_calibration_error", "expected calibration error", "%", 100, 2, difference_unit="points"),
        Metric("test_accuracy_precise", "test accuracy, precise statistics", "%", 100, 2, True, "points"),
        Metric("val_accuracy_precise", "validation accuracy, precise statistics", "%", 100, 2, True, "points"),
        Metric("test_nll_precise", "test NLL, precise statistics", "nats", difference_unit="nats"),
        Metric("val_nll_precise", "validation NLL, precise statistics", "nats", difference_unit="nats"),
        *(
            Metric(f"test_accuracy_{kind}", f"test accuracy under {kind}", "%", 100, 2, True, "points")
            for kind in STRENGTHS
        ),
        Metric("train_loss", "training loss", "nats", difference_unit="nats"),
        Metric("seconds", "training time", "s", digits=1, difference_unit="s"),
        Metric(
            "samples_per_second", "throughput", "images/s", digits=0, higher_is_better=True, difference_unit="images/s"
        ),
    )
}
COMPARED = ("test_accuracy", "test_nll", "test_calibration_error", "train_loss")
ENDING = "_precise"  # of metrics of runs with `trainer.precise_statistics`
PRECISE = ("test_accuracy_precise", "test_nll_precise")
COST = ("seconds", "samples_per_second")


def counted(counts: Iterable[int], noun: str) -> str:
    """`3 seeds`, `1 seed`, or `3 to 5 seeds` where the counts differ."""
    values = sorted({int(count) for count in counts})
    number = f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"
    return f"{number} {noun}" if values == [1] else f"{number} {noun}s"


def get_metric(name: str) -> Metric:
    """The metric `name`; an unknown one raises UsageError."""
    try:
        return METRICS[name]
    except KeyError:
        raise UsageError("compare.metric: " + unknown("metric", name, METRICS)) from None


def comparable(names: Iterable[str], configs: Sequence[RunConfig]) -> list[str]:
    """The metrics that every run has, of a network as it is evaluated: see `lacking`."""
    return [name for name in names if not any(lacking(name, config) for config in configs)]


def lacking(name: str, config: RunConfig) -> str:
    """Why a run will have no value of the metric that compares, as a remedy; empty where it will have one.

    Args:
        name: The metric.
        config: The resolved run.
    """
    if name.endswith(ENDING) and not config.trainer.precise_statistics:
        return "set trainer.precise_statistics to a number of training images in every cell"
    if name.startswith("val_") and not validates(config):
        return "set trainer.validations and data.validation above 0 in every cell"
    kind = name.removeprefix("test_accuracy_")
    if kind in STRENGTHS and kind not in [one.kind for one in corruptions(config.trainer.corruptions, name)]:
        return f"set trainer.corruptions: [{kind}] in every cell"
    if name == "train_loss" and config.model.options.get("dropout"):
        return "compare val_nll or test_nll: the training loss is of networks with units dropped out"
    return ""
