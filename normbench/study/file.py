"""A study as written: a YAML file with one question, a grid of axes, seeds, and what is compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from normbench.errors import UsageError, unknown
from normbench.spec import RunConfig, load_plugins, read_yaml, run_config, typed
from normbench.spec.schema import SEED_LIMIT
from normbench.spec.values import Positive, Range, checked
from normbench.study.metrics import get_metric

EXPERIMENTS = Path("experiments")
SMALLER = "-smoke"  # what the name of a smaller study made from one ends with
KEYS = ("name", "question", "notes", "base", "grid", "seeds", "skip", "compare", "launch", "plugins")
COMPARE_KEYS = ("factor", "baseline", "across", "tuned", "metric", "margin", "target")
Share = Annotated[float, Range(0, 1, open_low=True, open_high=True)]
LONGEST_NAME = 100  # characters of a study's name, which becomes a folder


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
        margin: The largest difference that does not matter, in the metric's unit; None: equivalence is not tested.
        target: A validation accuracy; the report tells how many images each cell takes to reach it.
    """

    factor: str
    baseline: Any
    across: tuple[str, ...]
    tuned: str | None = None
    metric: str = "test_accuracy"
    margin: float | None = None
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
    launch: Mapping[str, Any] = field(default_factory=dict)  # by launcher: where runs run, not what they are


def load_study(name: str | Path) -> Study:
    """The study at a path, or of that name in experiments/. Raises UsageError for anything it cannot mean."""
    path = _study_path(name)
    tree = read_yaml(path, "study")
    for key in tree:
        if key not in KEYS:
            raise UsageError(f"{path}: {unknown('key of a study', key, KEYS)}")
    for key in ("name", "question", "grid", "compare"):
        if not tree.get(key):
            raise UsageError(
                f"{path}: '{key}' is missing or empty: a study has a name, a question, a grid and a compare"
            )
    title = tree["name"]
    if not isinstance(title, str) or not title.replace("-", "_").isidentifier() or len(title) > LONGEST_NAME:
        raise UsageError(
            f"{path}: name '{title}' becomes a folder: use letters, digits, - and _, at most {LONGEST_NAME} of them"
        )
    written = _mapping(tree.get("base") or {}, "base", path)
    if "seed" in written:
        raise UsageError(f"{path}: base.seed: the seeds of a study are given under 'seeds'")
    named = [*_list(tree.get("plugins") or [], "plugins", path), *_list(written.get("plugins") or [], "plugins", path)]
    plugins = [str(_plugin_path(plugin, path)) for plugin in named]
    try:
        load_plugins(tuple(plugins))  # what they register can be named below
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    base = run_config(written, str(path))
    if plugins:
        base = dataclasses.replace(base, plugins=plugins)
    axes = _axes(_mapping(tree["grid"], "grid", path), path)
    return Study(
        name=title,
        question=str(tree["question"]).strip(),
        notes=str(tree.get("notes") or "").strip(),
        base=base,
        axes=axes,
        seeds=_seeds(tree.get("seeds", 3), path),
        skips=tuple(_skip(rule, axes, path) for rule in _list(tree.get("skip") or [], "skip", path)),
        compare=_compare(_mapping(tree["compare"], "compare", path), axes, path),
        path=path,
        launch=_mapping(tree.get("launch") or {}, "launch", path),
    )


def _seeds(given: Any, path: Path) -> tuple[int, ...]:
    """The seeds of a study: a list of them, or how many from 0."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= 100_000:
        return tuple(range(given))
    if not isinstance(given, list) or not given:
        raise UsageError(f"{path}: seeds is a list of whole numbers from 0, or how many: {given!r}")
    for seed in given:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= SEED_LIMIT:
            raise UsageError(f"{path}: seeds: {seed!r} is not a whole number from 0 to {SEED_LIMIT}")
    if len(set(given)) != len(given):
        raise UsageError(f"{path}: a seed is given twice: each counts once")
    return tuple(given)


def _list(value: Any, what: str, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{path}: {what} is a list, not {value!r}")
    return value


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
    beside = study.parent / Path(str(plugin)).expanduser()
    return (beside if beside.is_file() else Path(str(plugin)).expanduser()).resolve()


def _axes(grid: dict[str, Any], path: Path) -> dict[str, tuple[Level, ...]]:
    """The axes: a dotted key with its values, or a name with labelled groups of keys that change together."""
    axes: dict[str, tuple[Level, ...]] = {}
    owner: dict[str, str] = {}
    for name, values in grid.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise UsageError(f"{path}: grid: {name!r} is no name for an axis: use printable text")
        if isinstance(values, dict) and values:
            levels = tuple(
                Level(
                    label,
                    typed(_mapping(changes, f"grid.{name}.{label}", path), f"{path}: grid.{name}.{label}"),
                )
                for label, changes in values.items()
            )
        elif isinstance(values, list) and values:
            found = [typed({name: value}, f"{path}: grid")[name] for value in values]
            levels = tuple(Level(_label(value), {name: value}) for value in found)
        else:
            raise UsageError(f"{path}: grid.{name} has no values: give a list")
        labels = [level.label for level in levels]
        for label in labels:
            if not _is_label(label):
                raise UsageError(
                    f"{path}: grid.{name}: {label!r} is no label: use text without line breaks, or a number"
                )
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


def _is_label(label: Any) -> bool:
    """Whether tables, figures and files can show a label: printable text, a finite number, true or false."""
    if isinstance(label, float):
        return math.isfinite(label)
    return label.isprintable() if isinstance(label, str) else isinstance(label, int)


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
    metric, margin = _metric(tree, path)
    target = tree.get("target")
    if target is not None:
        target = checked(target, Share, f"{path}: compare.target")
    return Compare(factor, baseline, tuple(across), tuned, metric, margin, target)


def _metric(tree: dict[str, Any], path: Path) -> tuple[str, float | None]:
    """The metric that a study asks about, and the difference in it that does not matter."""
    metric = str(tree.get("metric", Compare.metric))
    try:
        found = get_metric(metric)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    # A margin has the metric's unit, so only the metric that it is meant for has a default.
    margin = tree.get("margin", 0.005 if metric == Compare.metric else None)
    if margin is not None:
        margin = checked(margin, Positive, f"{path}: compare.margin")
        if found.unit == "%" and margin >= 1:
            raise UsageError(
                f"{path}: compare.margin={margin:g} is {margin * 100:g} {found.difference_unit}: {metric} is a "
                f"fraction, so half a point is 0.005"
            )
    return metric, margin
