"""A study as written: a YAML file with one question, a grid of axes, seeds, and what is compared."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from normbench.errors import UsageError, unknown
from normbench.spec import RunConfig, load_plugins, read_yaml, run_config, typed
from normbench.spec.values import at_home
from normbench.study.compare import Compare, compare_of, label_of
from normbench.study.looks import LookPlan, seeds_of
from normbench.study.rates import RATE, Rates, source, without_rates

EXPERIMENTS = Path("experiments")
SMALLER = "-smoke"  # what the name of a smaller study made from one ends with
IDLE_SECONDS = 60.0  # after which runs that wait, while none runs, are no longer waited for
KEYS = ("name", "question", "notes", "base", "grid", "seeds", "skip", "compare", "launch", "plugins")
NAME = re.compile(r"\w[\w-]*")  # of a study: never an option of a command line
LONGEST_NAME = 100  # characters of a study's name, which becomes a folder


@dataclass(frozen=True)
class Level:
    """One value of an axis: what it is called, the dotted keys that it sets, and the file that a rate is taken from."""

    label: Any
    changes: Mapping[str, Any]
    rates: Rates | None = None


@dataclass(frozen=True)
class Skip:
    """Cells that are not run: those whose axes or keys have these values, and why."""

    when: Mapping[str, Sequence[Any]]
    reason: str


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
    looks: LookPlan | None = None
    rates: Rates | None = None
    launch: Mapping[str, Any] = field(default_factory=dict)  # by launcher: where runs run, not what they are

    def seeds_at(self, look: int) -> tuple[int, ...]:
        """The seeds of a planned look, counted from 1, and of those before it; none before the first, look 0."""
        return self.seeds[: self.looks.seeds[look - 1]] if self.looks and look else ()


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
    if not isinstance(title, str) or not NAME.fullmatch(title) or len(title) > LONGEST_NAME:
        raise UsageError(
            f"{path}: name '{title}' becomes a folder: use letters, digits, - and _, at most {LONGEST_NAME} of them"
        )
    if title.endswith(SMALLER):
        raise UsageError(f"{path}: name '{title}': {SMALLER} is the end of the names of smoke tests: choose another")
    written = _mapping(tree.get("base") or {}, "base", path)
    if "seed" in written:
        raise UsageError(f"{path}: base.seed: the seeds of a study are given under 'seeds'")
    named = [*_list(tree.get("plugins") or [], "plugins", path), *_list(written.get("plugins") or [], "plugins", path)]
    plugins = [str(_plugin_path(plugin, path)) for plugin in named]
    try:
        load_plugins(tuple(plugins))  # what they register can be named below
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    written, rates = without_rates(written, path)
    base = run_config(written, str(path))
    if plugins:
        base = dataclasses.replace(base, plugins=plugins)
    axes = _axes(_mapping(tree["grid"], "grid", path), path)
    seeds, looks = seeds_of(tree.get("seeds", 3), path)
    compare = compare_of(
        tree["compare"], {axis: [level.label for level in found] for axis, found in axes.items()}, path
    )
    if looks and compare.tuned:
        raise UsageError(
            f"{path}: seeds.looks with compare.tuned: a choice that changes from look to look has no level: choose "
            "by a pilot, and name its file (optimizer.lr: {from: FILE})"
        )
    return Study(
        name=title,
        question=_prose(tree, "question", path),
        notes=_prose(tree, "notes", path),
        base=base,
        axes=axes,
        seeds=seeds,
        skips=tuple(_skip(rule, axes, path) for rule in _list(tree.get("skip") or [], "skip", path)),
        compare=compare,
        path=path,
        looks=looks,
        rates=rates,
        launch=_mapping(tree.get("launch") or {}, "launch", path),
    )


def _prose(tree: dict[str, Any], key: str, path: Path) -> str:
    value = tree.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{path}: {key} is text, not {value!r}")
    return (value or "").strip()


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


def asked_as(study: Study) -> str:
    """A study as a command line names it; a smaller one is asked for by the options that made it smaller."""
    named = study.path.stem if study.path.parent == EXPERIMENTS else study.path.name
    return f"{named} with its --set, --seeds and --only" if study.name.endswith(SMALLER) else named


def untrained(study: Study) -> str:
    """What is said where runs wait and none has run for IDLE_SECONDS: nobody may be there to train them."""
    return f"no run is being trained: `normbench run {asked_as(study)}` trains those that are left"


def _plugin_path(plugin: Any, study: Path) -> Path:
    named = at_home(str(plugin), "plugin")
    beside = study.parent / named
    return (beside if beside.is_file() else named).resolve()


def _twice(labels: Sequence[Any]) -> Any:
    """The first label that is an earlier one, also as text, by which tables, figures and files know it; or None."""
    seen: set[Any] = set()
    for label in labels:
        if seen & {label, str(label)}:
            return label
        seen |= {label, str(label)}
    return None


def _axes(grid: dict[str, Any], path: Path) -> dict[str, tuple[Level, ...]]:
    """The axes: a dotted key with its values, or a name with labelled groups of keys that change together."""
    axes: dict[str, tuple[Level, ...]] = {}
    owner: dict[str, str] = {}
    for name, values in grid.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise UsageError(f"{path}: grid: {name!r} is no name for an axis: use printable text")
        if isinstance(values, dict) and values:
            levels = tuple(_level(label, changes, f"grid.{name}.{label}", path) for label, changes in values.items())
        elif isinstance(values, list) and values:
            levels = tuple(_value_level(name, value, path) for value in values)
        else:
            raise UsageError(f"{path}: grid.{name} has no values: give a list")
        labels = [level.label for level in levels]
        for label in labels:
            if not _is_label(label):
                raise UsageError(
                    f"{path}: grid.{name}: {label!r} is no label: use text without line breaks, or a number"
                )
        twice = _twice(labels)
        if twice is not None:
            raise UsageError(f"{path}: grid.{name} has {twice!r} twice: keep one")
        for key in {key for level in levels for key in (*level.changes, *([RATE] if level.rates else []))}:
            if key == "seed":
                raise UsageError(f"{path}: grid.seed: seeds are given under 'seeds', since comparisons pair by them")
            if owner.setdefault(key, name) != name:
                raise UsageError(f"{path}: both grid.{owner[key]} and grid.{name} set {key}: keep one of the axes")
        axes[name] = levels
    return axes


def _level(label: Any, changes: Any, where: str, path: Path) -> Level:
    """A level from what it is called and sets."""
    plain, rates = without_rates(_mapping(changes, where, path), path)
    return Level(label, typed(plain, f"{path}: {where}"), rates)


def _value_level(name: str, value: Any, path: Path) -> Level:
    """A level of an axis that is a key: it is called as its value, or as the file that its rates are from."""
    found = _level(source(value), {name: value}, "grid", path)
    return found if found.label is not None else replace(found, label=label_of(found.changes[name]))


def _is_label(label: Any) -> bool:
    """Whether tables, figures and files can show a label: printable text, a finite number, true or false."""
    if isinstance(label, float):
        return math.isfinite(label)
    return label.isprintable() if isinstance(label, str) else isinstance(label, int)


def _skip(rule: Any, axes: Mapping[str, tuple[Level, ...]], path: Path) -> Skip:
    if not isinstance(rule, dict) or not rule.get("when") or not rule.get("reason"):
        raise UsageError(f"{path}: a skip rule has 'when' (keys and values) and 'reason': {rule!r}")
    for key in rule:
        if key not in ("when", "reason"):
            raise UsageError(f"{path}: skip: {unknown('key of a skip rule', key, ('when', 'reason'))}")
    when: dict[str, Sequence[Any]] = {}
    for key, values in _mapping(rule["when"], "skip.when", path).items():
        if key not in axes:
            raise UsageError(f"{path}: skip.when: {unknown('axis', key, axes)}")
        wanted = [label_of(value) for value in (values if isinstance(values, list) else [values])]
        labels = [level.label for level in axes[key]]
        for value in wanted:
            if value not in labels:
                raise UsageError(f"{path}: skip.when.{key}: {value!r} is not among {labels}")
        when[key] = wanted
    return Skip(when, str(rule["reason"]))
