"""What a study comes to: its runs, and the cells that are skipped. A study of 100,000 cells is planned in seconds."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from normbench.data import available
from normbench.errors import UsageError
from normbench.spec import DegenerateStatisticWarning, RunConfig, load_plugins, replace
from normbench.spec.counts import alike_on_devices, image_facts
from normbench.spec.identity import HASHED, identity_hash, section_identity
from normbench.spec.resolve import check_clashes, resolve_model, resolve_probes, resolve_section, resolve_trainer
from normbench.spec.schedule import check_rate
from normbench.spec.schema import SECTIONS, TOP, DataConfig, ModelConfig
from normbench.study.estimate import estimate
from normbench.study.file import Level, Skip, Study
from normbench.study.metrics import lacking
from normbench.study.rates import RATE, Rates

VIRTUAL = "trainer.virtual_devices"
POOLED = (
    "compare.error=pooled does not keep its level where norms differ in spread, and finds differences that are not "
    "there: paired and shrunk keep it"
)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a study: its id, its cell (axis to label), its seed and its resolved configuration."""

    id: str
    cell: Mapping[str, Any]
    seed: int
    config: RunConfig


@dataclass(frozen=True)
class Plan:
    """What a study comes to.

    Args:
        study: The study.
        runs: Its runs, in the order in which they are started.
        skipped: Cells that are not run, each with its reason.
        warnings: What a reader should know before anything is trained.
        fell_back: Whether its runs are on the embedded digits, where the study asks for mnist.
        twins: Runs again, each in a further cell that comes to the same: one whose own rate is the shared one, or a
            norm of each image on other virtual devices.
    """

    study: Study
    runs: list[PlannedRun]
    skipped: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fell_back: bool = False
    twins: list[PlannedRun] = field(default_factory=list)

    @property
    def placed(self) -> list[PlannedRun]:
        """Every run in every cell that it stands for."""
        return [*self.runs, *self.twins]

    @property
    def data_sets(self) -> list[DataConfig]:
        """The data sets that its runs are on, each once; with other options it is another one."""
        found = (run.config.data for run in self.runs)
        return list({(data.name, data.dir, repr(sorted(data.options.items()))): data for data in found}.values())

    @property
    def ids(self) -> list[str]:
        """Ids of all runs."""
        return [run.id for run in self.runs]


def make_plan(study: Study, fallback: bool | None = None) -> Plan:
    """The runs of a study, those of the first seed first and the longest of a seed first.

    Sections of the configuration that cells share are resolved and hashed once.

    Args:
        study: The study.
        fallback: Whether mnist is replaced by the embedded digits; None: if this machine has to.
    """
    load_plugins(tuple(study.base.plugins))
    runs: list[tuple[float, PlannedRun]] = []
    twins: list[PlannedRun] = []
    skipped: list[tuple[Mapping[str, Any], str]] = []
    by_id: dict[str, tuple[Mapping[str, Any], Any]] = {}
    memo = _Memo(study.base, fallback)
    check_rates(study)
    rate_levels: dict[float, Level] = {}
    seed_at, virtual = HASHED.index("seed"), study.base.trainer.virtual_devices
    for levels in itertools.product(*study.axes.values()):
        cell = {axis: level.label for axis, level in zip(study.axes, levels, strict=True)}
        if (reason := _skip_reason(cell, study.skips)) is not None:
            skipped.append((cell, reason))
            continue
        try:
            config, parts, seconds = memo.cell(_with_rate(study, levels, cell, rate_levels))
        except UsageError as error:
            named = ", ".join(f"{axis}={label}" for axis, label in cell.items())
            raise UsageError(f"{study.path}: cell {named}: {error}; or leave the cell out with a skip rule") from None
        devices = next((level.changes[VIRTUAL] for level in levels if VIRTUAL in level.changes), virtual)
        for rank, seed in enumerate(study.seeds):
            parts[seed_at] = str(seed)
            identity = identity_hash(parts)
            run = PlannedRun(identity, cell, seed, _with_seed(config, seed))
            other, on = by_id.setdefault(identity, (cell, devices))
            if other is cell:
                runs.append((rank * 1e9 - seconds, run))
            elif files_of_rates(study) or devices != on:
                twins.append(run)  # nobody knows beforehand which rates a pilot chooses, or has to know such norms
            else:
                two = f"cells '{describe(other)}' and '{describe(cell)}'"
                raise UsageError(f"{study.path}: {two} are the same run: leave one out")
    if not runs:
        raise UsageError(f"{study.path}: every cell is skipped: nothing is left to run")
    check_metric(study, [run for _, run in runs if run.seed == study.seeds[0]])  # seeds change no metric
    runs.sort(key=lambda item: item[0])
    if study.compare.error == "pooled":
        memo.warnings.append(POOLED)
    return Plan(study, [run for _, run in runs], skipped, memo.warnings, memo.fell_back, twins)


def iter_pending(plan: Plan, done: Collection[str]) -> Iterator[PlannedRun]:
    """The runs of a plan that have no result yet."""
    return (run for run in plan.runs if run.id not in done)


def describe(cell: Mapping[str, Any]) -> str:
    """A cell in a few words: `norm group, batch_size 32`."""
    return ", ".join(f"{axis.rpartition('.')[2] or axis} {label}" for axis, label in cell.items())


def files_of_rates(study: Study) -> list[Rates]:
    """The files that the study takes rates from."""
    named = (study.rates, *(level.rates for levels in study.axes.values() for level in levels))
    return [rates for rates in named if rates is not None]


def check_rates(study: Study) -> None:
    """Raises UsageError where a file of rates does not belong to the study, or was chosen on seeds that it reports."""
    axes = {axis: [level.label for level in levels] for axis, levels in study.axes.items()}
    keys = {key for levels in study.axes.values() for key in set.intersection(*(set(one.changes) for one in levels))}
    for rates in files_of_rates(study):
        rates.check(axes, keys, study.seeds, study.path)


def check_metric(study: Study, runs: Sequence[PlannedRun]) -> None:
    """Raises UsageError where a run that is compared would not have the metric, or not the one that a rate needs."""
    asked = {f"compare.metric={study.compare.metric}": study.compare.metric}
    for key, words in (("tuned", "chooses by"), ("target", "is a value of")):
        if getattr(study.compare, key) is not None:
            asked[f"compare.{key} {words} val_accuracy, which"] = "val_accuracy"
    for (what, metric), run in itertools.product(asked.items(), runs):
        if remedy := lacking(metric, run.config):
            cell = ", ".join(f"{axis}={label}" for axis, label in run.cell.items())
            raise UsageError(f"{study.path}: {what} cannot be compared in cell {cell}: {remedy}")


def _with_rate(
    study: Study, levels: tuple[Level, ...], cell: Mapping[str, Any], known: dict[float, Level]
) -> tuple[Level, ...]:
    """The levels of a cell, and one more that sets the rate which a file names for it, if one does."""
    rates = next((level.rates for level in levels if level.rates), None)
    if rates is None and not any(RATE in level.changes for level in levels):
        rates = study.rates
    if rates is None:
        return levels
    # An axis of the pilot that is a key (model.name) may be one of several that an axis of this study sets.
    rate = rates.rate({**{key: value for level in levels for key, value in level.changes.items()}, **cell})
    return (*levels, known.setdefault(rate, Level(rate, {RATE: rate})))


def _with_seed(c: RunConfig, seed: int) -> RunConfig:
    return RunConfig(c.data, c.model, c.optimizer, c.budget, c.trainer, seed, c.plugins, c.probes, c.logger)


def _skip_reason(cell: Mapping[str, Any], skips: Sequence[Skip]) -> str | None:
    return next((skip.reason for skip in skips if all(cell[axis] in skip.when[axis] for axis in skip.when)), None)


class _Memo:
    """Resolved sections and their identities, for cells that differ in few of them."""

    def __init__(self, base: RunConfig, fallback: bool | None) -> None:
        self.base, self.fallback = base, fallback
        self.sections: dict[tuple[str, tuple[int, ...]], Any] = {}
        self.models: dict[tuple[Any, ...], tuple[Any, ModelConfig]] = {}
        self.checked: dict[tuple[Any, ...], tuple[RunConfig, float]] = {}
        self.identities: dict[tuple[Any, ...], tuple[Any, str]] = {}
        self.warnings: list[str] = []
        self.fell_back = False

    def cell(self, levels: Sequence[Level]) -> tuple[RunConfig, list[str], float]:
        """Configuration, identity of each section (the seed's left open), and estimated seconds of a cell."""
        by_section: dict[str, list[Level]] = {}
        for level in levels:
            for section in {key.partition(".")[0] for key in level.changes}:
                by_section.setdefault(section, []).append(level)
        values, keys = dict[str, Any](), list[Any]()
        for section in (*SECTIONS, *(name for name in TOP if name != "seed")):
            mine = by_section.get(section, [])
            key = (section, tuple(map(id, mine)))
            if key not in self.sections:
                self.sections[key] = self._section(section, mine)
            values[section] = self.sections[key]
            keys.append(key[1] if section != "optimizer" else ())
        # What can clash is checked once for each combination; a learning rate clashes with nothing but the budget.
        if tuple(keys) not in self.checked:
            self.checked[tuple(keys)] = self._checked(RunConfig(**values))
        resolved, seconds = self.checked[tuple(keys)]
        config = dataclasses.replace(resolved, optimizer=values["optimizer"])
        check_rate(config)
        return config, [self._identity(section, config) for section in HASHED], seconds

    def _section(self, section: str, levels: Sequence[Level]) -> Any:
        changes = {
            key: value for level in levels for key, value in level.changes.items() if key.partition(".")[0] == section
        }
        config = replace(self.base, changes)
        if section == "plugins":
            load_plugins(tuple(config.plugins))
            return config.plugins
        if section == "probes":
            return resolve_probes(config.probes)
        if section == "data":
            name = self._dataset(config)
            self.fell_back |= name != config.data.name
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))
        return resolve_section(section, config)

    def _checked(self, config: RunConfig) -> tuple[RunConfig, float]:
        resolved = dataclasses.replace(config, model=self._model(config))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DegenerateStatisticWarning)
            check_clashes(resolved)
        resolved = dataclasses.replace(resolved, trainer=resolve_trainer(resolved))
        if alike_on_devices(resolved):  # trained once; here, not where any run is resolved: stored ones keep their ids
            resolved = dataclasses.replace(resolved, trainer=dataclasses.replace(resolved.trainer, virtual_devices=1))
        self.warnings += [text for w in caught if (text := str(w.message)) not in self.warnings]
        return resolved, estimate(resolved)

    def _model(self, config: RunConfig) -> ModelConfig:
        """The resolved model: of the data it depends on the images' size and the classes alone."""
        images = image_facts(config.data)
        key = (id(config.model), images.image, images.classes)
        if key not in self.models:  # the section is kept, so that its id is not given to another
            self.models[key] = (config.model, resolve_model(config))
        return self.models[key][1]

    def _dataset(self, config: RunConfig) -> str:
        """The data set that this machine uses where the configuration names one that may be replaced."""
        data = config.data
        if self.fallback is None:
            return available(data)
        return "mnist_5k" if self.fallback and data.name == "mnist" and data.allow_embedded else data.name

    def _identity(self, section: str, config: RunConfig) -> str:
        if section == "seed":
            return ""
        if section == "plugins":
            used: Any = (config.model.name, config.model.norm, config.data.name, config.optimizer.name)
            key: tuple[Any, ...] = (section, used, tuple(config.trainer.callbacks), tuple(config.plugins))
            kept = None
        else:
            kept = getattr(config, section)
            key = (section, id(kept))
        if key not in self.identities:  # the section is kept, so that its id is not given to another
            self.identities[key] = (kept, section_identity(section, config))
        return self.identities[key][1]
