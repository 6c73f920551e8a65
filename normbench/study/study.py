"""A study: a YAML file that becomes a list of runs, skipped cells with their reasons, and what is compared."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normbench.data.source import available
from normbench.errors import UsageError, unknown
from normbench.models import cost, layers
from normbench.spec.parse import typed
from normbench.spec.resolve import check_positive, devices, resolve, steps
from normbench.spec.schema import (
    NOT_IDENTITY,
    SECTIONS,
    DataConfig,
    RunConfig,
    identity_hash,
    load_yaml,
    replace,
    section_identity,
)
from normbench.store.folder import read_result

EXPERIMENTS = Path("experiments")
KEYS = ("name", "question", "notes", "base", "grid", "seeds", "skip", "compare", "plugins")
COMPARE_KEYS = ("factor", "baseline", "across", "tuned", "metric", "margin", "target")


@dataclass(frozen=True)
class Level:
    """One value of an axis: what it is called, and the dotted keys that it sets."""

    label: Any
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Skip:
    """Cells that are not run: those whose axes or keys have these values, and why."""

    when: Mapping[str, Sequence[Any]]
    reason: str


@dataclass(frozen=True)
class Compare:
    """What is compared with what.

    Args:
        factor: The axis whose levels are compared.
        baseline: The level that the others are compared with.
        across: The other axes; a comparison is made at each of their values.
        tuned: An axis whose value is chosen for each cell on the validation images, such as a learning rate.
        metric: The metric, a column of the results table.
        margin: The largest difference that does not matter, in the metric's unit.
        target: A validation accuracy; the report tells how many images each cell takes to reach it.
    """

    factor: str
    baseline: Any
    across: tuple[str, ...]
    tuned: str | None = None
    metric: str = "test_accuracy"
    margin: float = 0.005
    target: float | None = None


@dataclass(frozen=True)
class Study:
    """A study as written."""

    name: str
    question: str
    notes: str
    base: RunConfig
    axes: Mapping[str, tuple[Level, ...]]
    seeds: tuple[int, ...]
    skips: tuple[Skip, ...]
    compare: Compare
    path: Path


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a study: its id, its cell (axis to label), its seed and its configuration."""

    id: str
    cell: Mapping[str, Any]
    seed: int
    config: RunConfig


@dataclass(frozen=True)
class Plan:
    """What a study comes to: runs in the order they are started, and skipped cells with their reasons."""

    study: Study
    runs: list[PlannedRun]
    skipped: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)


def load_study(name: str | Path) -> Study:
    """The study at a path, or of that name in experiments/. Raises UsageError for anything it cannot mean."""
    path = _study_path(name)
    tree = load_yaml(path, "study")
    for key in tree:
        if key not in KEYS:
            raise UsageError(f"{path}: {unknown('key of a study', key, KEYS)}")
    for key in ("name", "question", "grid", "compare"):
        if not tree.get(key):
            raise UsageError(
                f"{path}: '{key}' is missing or empty: a study has a name, a question, a grid and a compare"
            )
    title = tree["name"]
    if not isinstance(title, str) or not title.replace("-", "_").isidentifier():
        raise UsageError(f"{path}: name '{title}' becomes a folder: use letters, digits, - and _")
    base = typed(_mapping(tree.get("base") or {}, "base", path), str(path))
    plugins = [str(_plugin_path(plugin, path)) for plugin in tree.get("plugins") or []]
    config = replace(RunConfig(), base | ({"plugins": plugins} if plugins else {}))
    axes = _axes(_mapping(tree["grid"], "grid", path), path)
    seeds = tree.get("seeds", [0, 1, 2])
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = range(seeds)
    seeds = tuple(seeds) if isinstance(seeds, list | range) else ()
    if not seeds or any(not isinstance(seed, int) or isinstance(seed, bool) or seed < 0 for seed in seeds):
        raise UsageError(f"{path}: seeds is a list of whole numbers from 0, or how many: {tree.get('seeds')!r}")
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"{path}: a seed is given twice: each counts once")
    skips = tuple(_skip(rule, axes, path) for rule in tree.get("skip") or [])
    compare = _compare(_mapping(tree["compare"], "compare", path), axes, path)
    return Study(
        title,
        str(tree["question"]).strip(),
        str(tree.get("notes") or "").strip(),
        config,
        axes,
        seeds,
        skips,
        compare,
        path,
    )


def _study_path(name: str | Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"} or path.parent != Path():
        raise UsageError(f"no study at {path}: check the path")
    path = EXPERIMENTS / f"{name}.yaml"
    if path.is_file():
        return path
    known = [entry.stem for entry in EXPERIMENTS.glob("*.yaml")]
    raise UsageError(unknown("study", name, known) if known else f"no study '{name}': {EXPERIMENTS}/ has none here")


def _mapping(value: Any, what: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {what} is a mapping of keys to values, not {value!r}")
    return value


def _plugin_path(plugin: Any, study: Path) -> Path:
    beside = study.parent / str(plugin)
    return (beside if beside.is_file() else Path(str(plugin))).resolve()


def _axes(grid: dict[str, Any], path: Path) -> dict[str, tuple[Level, ...]]:
    """The axes: a dotted key with its values, or a name with labelled groups of keys that change together."""
    axes: dict[str, tuple[Level, ...]] = {}
    owner: dict[str, str] = {}
    for name, values in grid.items():
        if isinstance(values, dict) and values:
            levels = tuple(
                Level(
                    label,
                    typed(_mapping(changes, f"grid.{name}.{label}", path), f"{path}: grid.{name}.{label}"),
                )
                for label, changes in values.items()
            )
        elif isinstance(values, list) and values:
            checked = [typed({name: value}, f"{path}: grid")[name] for value in values]
            levels = tuple(Level(_label(value), {name: value}) for value in checked)
        else:
            raise UsageError(f"{path}: grid.{name} has no values: give a list")
        labels = [level.label for level in levels]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise UsageError(f"{path}: grid.{name} has {twice!r} twice: keep one")
        for key in {key for level in levels for key in level.changes}:
            if key == "seed":
                raise UsageError(f"{path}: grid.seed: seeds are given under 'seeds', since comparisons pair by them")
            if owner.setdefault(key, name) != name:
                raise UsageError(f"{path}: both grid.{owner[key]} and grid.{name} set {key}: keep one of the axes")
        axes[name] = levels
    return axes


def _label(value: Any) -> Any:
    """A value as a cell of a table: lists and mappings as text."""
    return value if isinstance(value, int | float | str | bool) else str(value)


def _skip(rule: Any, axes: Mapping[str, tuple[Level, ...]], path: Path) -> Skip:
    if not isinstance(rule, dict) or not rule.get("when") or not rule.get("reason"):
        raise UsageError(f"{path}: a skip rule has 'when' (keys and values) and 'reason': {rule!r}")
    when: dict[str, Sequence[Any]] = {}
    for key, values in _mapping(rule["when"], "skip.when", path).items():
        if key not in axes:
            raise UsageError(f"{path}: skip.when: {unknown('axis', key, axes)}")
        wanted = [_label(value) for value in (values if isinstance(values, list) else [values])]
        labels = [level.label for level in axes[key]]
        for value in wanted:
            if value not in labels:
                raise UsageError(f"{path}: skip.when.{key}: {value!r} is not among {labels}")
        when[key] = wanted
    return Skip(when, str(rule["reason"]))


def _compare(tree: dict[str, Any], axes: Mapping[str, tuple[Level, ...]], path: Path) -> Compare:
    for key in tree:
        if key not in COMPARE_KEYS:
            raise UsageError(f"{path}: {unknown('key of compare', key, COMPARE_KEYS)}")
    factor, baseline = str(tree.get("factor")), tree.get("baseline")
    if factor not in axes:
        raise UsageError(f"{path}: compare.factor: {unknown('axis', factor, axes)}")
    labels = [level.label for level in axes[factor]]
    if baseline not in labels:
        raise UsageError(f"{path}: compare.baseline {baseline!r} is not among {labels}")
    tuned = tree.get("tuned")
    rest = [axis for axis in axes if axis not in (factor, tuned)]
    if tuned is not None and (tuned not in axes or tuned == factor):
        raise UsageError(f"{path}: compare.tuned: {unknown('other axis', tuned, set(axes) - {factor})}")
    across = tree.get("across", rest)
    if not isinstance(across, list):
        raise UsageError(f"{path}: compare.across is a list of axes, not {across!r}")
    for axis in across:
        if axis not in rest:
            raise UsageError(f"{path}: compare.across: {unknown('other axis', axis, rest)}")
    if missing := [axis for axis in rest if axis not in across]:
        raise UsageError(f"{path}: compare: axis {missing[0]} is compared with nothing: put it into across or tuned")
    metric, margin = tree.get("metric", Compare.metric), tree.get("margin", Compare.margin)
    if not isinstance(margin, int | float) or isinstance(margin, bool) or margin <= 0:
        raise UsageError(f"{path}: compare.margin={margin!r} is not a positive number in the metric's unit")
    target = tree.get("target")
    if target is not None and not (isinstance(target, int | float) and 0 < target < 1):
        raise UsageError(f"{path}: compare.target={target!r} is not an accuracy between 0 and 1")
    return Compare(factor, baseline, tuple(across), tuned, str(metric), float(margin), target)


def make_plan(study: Study, fallback: bool | None = None) -> Plan:
    """The runs of a study, those of the first seed first and the longest of a seed first.

    Sections of the configuration that cells share are resolved and hashed once: a study of 100,000 cells is
    planned in seconds.

    Args:
        study: The study.
        fallback: Whether mnist is replaced by the embedded digits; None: if this machine has to.
    """
    runs: list[tuple[float, PlannedRun]] = []
    skipped: list[tuple[Mapping[str, Any], str]] = []
    by_id: dict[str, Mapping[str, Any]] = {}
    memo = _Memo(study.base, fallback)
    seed_ids = [(rank, seed, section_identity("seed", seed)) for rank, seed in enumerate(study.seeds)]
    for levels in itertools.product(*study.axes.values()):
        cell = {axis: level.label for axis, level in zip(study.axes, levels, strict=True)}
        reason = _skip_reason(cell, study.skips)
        if reason is not None:
            skipped.append((cell, reason))
            continue
        try:
            config, parts, seconds = memo.cell(levels)
        except UsageError as error:
            named = ", ".join(f"{axis}={label}" for axis, label in cell.items())
            raise UsageError(f"{study.path}: cell {named}: {error}; or leave the cell out with a skip rule") from None
        for rank, seed, seed_part in seed_ids:
            identity = identity_hash(iter((*parts[:-1], seed_part, parts[-1])))
            other = by_id.setdefault(identity, cell)
            if other is not cell:
                raise UsageError(f"{study.path}: cells {dict(other)} and {cell} are the same run: leave one out")
            runs.append((rank * 1e9 - seconds, PlannedRun(identity, cell, seed, _with_seed(config, seed))))
    if not runs:
        raise UsageError(f"{study.path}: every cell is skipped: nothing is left to run")
    runs.sort(key=lambda item: item[0])
    return Plan(study, [run for _, run in runs], skipped)


def possible_plans(study: Study) -> list[Plan]:
    """The plan for this machine, and the one on the embedded digits, or on mnist, where that is another.

    A machine that no longer sees the files still tells what was trained on them.
    """
    here = make_plan(study)
    fell_back = any(run.config.data.name == "mnist_5k" for run in here.runs)
    try:
        other = make_plan(study, fallback=not fell_back)
    except UsageError:  # more images or larger batches than the embedded digits have: no run can have fallen back
        return [here]
    return [here] if other.runs[0].id in {run.id for run in here.runs} else [here, other]


def fullest(plans: Sequence[Plan], done: Collection[str]) -> Plan:
    """The plan with the most runs that have a result; the first of equals."""
    return max(plans, key=lambda plan: sum(run.id in done for run in plan.runs))


def _with_seed(config: RunConfig, seed: int) -> RunConfig:
    c = config
    return RunConfig(c.data, c.model, c.optimizer, c.budget, c.trainer, seed, c.plugins, c.logger)


def _skip_reason(cell: Mapping[str, Any], skips: Sequence[Skip]) -> str | None:
    for skip in skips:
        if all(cell[axis] in wanted for axis, wanted in skip.when.items()):
            return skip.reason
    return None


class _Memo:
    """Resolved sections and their identities, for cells that differ in few of them."""

    def __init__(self, base: RunConfig, fallback: bool | None) -> None:
        self.base, self.fallback = base, fallback
        self.sections: dict[tuple[str, tuple[int, ...]], tuple[Any, str]] = {}
        self.checked: dict[tuple[int, ...], tuple[RunConfig, float]] = {}

    def cell(self, levels: Sequence[Level]) -> tuple[RunConfig, list[str], float]:
        """Configuration, identity of each section (without the seed), and estimated seconds of a cell."""
        by_section: dict[str, list[Level]] = {}
        for level in levels:
            for section in {key.partition(".")[0] for key in level.changes}:
                by_section.setdefault(section, []).append(level)
        values, parts, keys = {}, [], []
        for section in (*SECTIONS, "plugins"):
            mine = by_section.get(section, [])
            key = (section, tuple(map(id, mine)))
            if key not in self.sections:
                changes = {k: v for level in mine for k, v in level.changes.items() if k.partition(".")[0] == section}
                value = getattr(replace(self.base, changes), section)
                if isinstance(value, DataConfig):
                    value = dataclasses.replace(value, name=self._dataset(value))
                check_positive(section, value)
                self.sections[key] = (value, "")
            values[section], _ = self.sections[key]
            keys.append(key[1] if section != "optimizer" else ())
        # What can clash is checked once for each combination; a learning rate clashes with nothing.
        checked_key = tuple(itertools.chain.from_iterable((*key, -1) for key in keys))
        if checked_key not in self.checked:
            resolved = resolve(RunConfig(**values))
            self.checked[checked_key] = (resolved, estimate(resolved))
        resolved, seconds = self.checked[checked_key]
        config = dataclasses.replace(resolved, optimizer=values["optimizer"])
        named = [section for section in (*SECTIONS, "plugins") if section not in NOT_IDENTITY]
        parts = [self._identity(section, getattr(config, section)) for section in named]
        return config, parts, seconds

    def _dataset(self, data: DataConfig) -> str:
        if self.fallback is None:
            return available(data)
        return "mnist_5k" if self.fallback and data.name == "mnist" and data.allow_embedded else data.name

    def _identity(self, section: str, value: Any) -> str:
        key = (section, (id(value),))
        if key not in self.sections:
            self.sections[key] = (value, section_identity(section, value))
        return self.sections[key][1]


# Seconds on one core of a common server CPU, measured with the digit CNN. Only for estimates before anything has
# run: finished runs of the study correct them.
STEP_SECONDS = 1.5e-3
TRAINING_MACS_PER_SECOND = 45e9
EVALUATION_MACS_PER_SECOND = 25e9
UNKNOWN_MACS = 10_000_000
SAMPLE = 200


def estimate(config: RunConfig) -> float:
    """Roughly how many seconds a resolved run takes on one CPU core, evaluation included."""
    walk = layers(config.model)
    macs = cost(walk) if walk else UNKNOWN_MACS
    total = steps(config)
    training = total * STEP_SECONDS + total * config.data.batch_size * 3 * macs / TRAINING_MACS_PER_SECOND
    evaluation = (10_000 + 5_000 * config.trainer.validations) * macs / EVALUATION_MACS_PER_SECOND
    return training / devices(config) + evaluation


def time_left(plan: Plan, folder: Path, done: set[str]) -> tuple[float, str]:
    """Seconds of work on one worker for the runs without a result, and what the estimate rests on."""
    left = sum(estimate(run.config) for run in plan.runs if run.id not in done)
    sample = [run for run in plan.runs if run.id in done][:SAMPLE]
    ratios = []
    for run in sample:
        result = read_result(folder / run.id)
        if result is not None:
            ratios.append(result["wall_seconds"] / estimate(run.config))
    if not ratios:
        return left, "a rough figure: nothing of this study has run yet"
    return left * statistics.median(ratios), f"from {len(ratios)} finished runs"


def describe(cell: Mapping[str, Any]) -> str:
    """A cell in a few words: `group, batch_size 32`."""
    return ", ".join(f"{axis.rpartition('.')[2]} {label}" for axis, label in cell.items())


def iter_pending(plan: Plan, done: set[str]) -> Iterator[PlannedRun]:
    """The runs of a plan that have no result yet."""
    return (run for run in plan.runs if run.id not in done)
