"""What a study compares with what: one contrast, or a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from normbench.errors import UsageError, unknown
from normbench.spec.values import Positive, Range, checked
from normbench.study.metrics import get_metric

Kind = Literal["levels", "within", "change", "slope"]
AskedError = Literal["auto", "paired", "shrunk", "pooled"]
Share = Annotated[float, Range(0, 1, open_low=True, open_high=True)]

FIRST_KEYS = (
    *("factor", "baseline", "across", "tuned", "metric", "margin", "target", "error"),
    *("name", "family", "kind", "where"),
)
WHOLE = ("tuned", "metric", "margin", "target", "error")  # said once, in the first contrast; they hold for all
KEYS: dict[Kind, tuple[str, ...]] = {
    "levels": ("kind", "name", "family", "factor", "baseline", "where"),
    "within": ("kind", "name", "family", "factor", "level", "along", "start", "stops", "where"),
    "change": ("kind", "name", "family", "factor", "baseline", "along", "start", "stops", "where"),
    "slope": ("kind", "name", "family", "factor", "baseline", "along", "where"),
}
FAMILY = "study"  # of a contrast that names none


@dataclass(frozen=True)
class Contrast:
    """A contrast beside the first.

    Args:
        kind: "levels": levels of the factor against one of them, in each cell; "within": within one level, values
            of an axis against its start; "change": the change of each level from the start of an axis, less that of
            the baseline; "slope": likewise the slope against log2 of a numeric axis.
        name: Unique in the study.
        family: Contrasts of a family share its level.
        factor: The axis whose levels are compared.
        level: The baseline; for "within", the level that is looked at.
        along: The axis that is followed; "" for "levels".
        start: Its label that the others are compared with.
        stops: Its other labels.
        where: Labels of other axes; a cell that has others does not take part.
    """

    kind: Kind
    name: str
    family: str
    factor: str
    level: Any
    along: str = ""
    start: Any = None
    stops: tuple[Any, ...] = ()
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


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
        error: Where the error of a difference is taken from; "auto" goes by the planned seeds.
        name: Of this first contrast.
        family: Of this first contrast.
        where: Labels of other axes; cells that have others are left to further contrasts.
        contrasts: The others, which share all but factor, baseline, name, family and where.
    """

    factor: str
    baseline: Any
    across: tuple[str, ...]
    tuned: str | None = None
    metric: str = "test_accuracy"
    margin: float | None = None
    target: float | None = None
    error: AskedError = "auto"
    name: str = "levels"
    family: str = FAMILY
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()


Labels = Mapping[str, Sequence[Any]]


def label_of(value: Any) -> Any:
    """What a value is called in tables and where labels are asked for: lists and mappings as text, null as YAML's."""
    if value is None:
        return "null"
    return value if isinstance(value, int | float | str | bool) else str(value)


def compare_of(given: Any, labels: Labels, path: Path) -> Compare:
    """The comparison of a study, from a mapping or a list of them.

    Args:
        given: As written.
        labels: The labels of each axis.
        path: The study's file, which errors name.
    """
    if isinstance(given, list):
        if not given or not all(isinstance(item, dict) for item in given):
            raise UsageError(f"{path}: compare is a list of mappings, a contrast each, not {given!r}")
        first = _first(given[0], labels, path)
        more = [_contrast(item, first, labels, index, path) for index, item in enumerate(given[1:], 1)]
        names = [first.name, *(contrast.name for contrast in more)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"{path}: compare: two contrasts are called '{twice}': give one another name")
        return Compare(**{**first.__dict__, "contrasts": tuple(more)})
    if not isinstance(given, dict):
        raise UsageError(f"{path}: compare is a mapping of keys to values, or a list of such contrasts, not {given!r}")
    return _first(given, labels, path)


def _first(tree: dict[str, Any], labels: Labels, path: Path) -> Compare:
    for key in tree:
        if key not in FIRST_KEYS:
            raise UsageError(f"{path}: {unknown('key of compare', key, FIRST_KEYS)}")
    if tree.get("kind", "levels") != "levels":
        raise UsageError(
            f"{path}: compare: the first contrast compares levels with a baseline (kind: levels), which tables and "
            f"figures show: put kind: {tree['kind']} after it"
        )
    factor, baseline = str(tree.get("factor")), label_of(tree.get("baseline"))
    if factor not in labels:
        raise UsageError(f"{path}: compare.factor: {unknown('axis', factor, labels)}")
    if "baseline" not in tree:
        raise UsageError(f"{path}: compare.baseline is missing: one of {_listed(labels[factor])}")
    if baseline not in labels[factor]:
        raise UsageError(f"{path}: compare.baseline {baseline!r} is not among {list(labels[factor])}")
    tuned = tree.get("tuned")
    rest = [axis for axis in labels if axis not in (factor, tuned)]
    if tuned is not None and (tuned not in labels or tuned == factor):
        raise UsageError(f"{path}: compare.tuned: {unknown('other axis', tuned, set(labels) - {factor})}")
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
    error = _word(tree.get("error", "auto"), "error term", get_args(AskedError), f"{path}: compare.error")
    name, family = (_name(tree.get(key, value), key, path) for key, value in (("name", "levels"), ("family", FAMILY)))
    where = _where(tree, labels, rest, f"{path}: compare.where")
    asked = cast("AskedError", error)
    return Compare(factor, baseline, tuple(across), tuned, metric, margin, target, asked, name, family, where)


def _contrast(tree: dict[str, Any], first: Compare, labels: Labels, index: int, path: Path) -> Contrast:
    where = f"{path}: compare[{index}]"
    kind = cast("Kind", _word(tree.get("kind"), "kind of contrast", get_args(Kind), f"{where}.kind"))
    for key in tree:
        if key in WHOLE:
            raise UsageError(f"{where}.{key}: it holds for all contrasts: say it in the first")
        if key not in KEYS[kind]:
            raise UsageError(f"{where}: {unknown(f'key of a contrast of kind {kind}', key, KEYS[kind])}")
    factor = _word(tree.get("factor", first.factor), "axis", [axis for axis in labels if axis != first.tuned], where)
    place = "level" if kind == "within" else "baseline"
    if place not in tree and (kind == "within" or factor != first.factor):
        raise UsageError(f"{where}: {place} is missing: give a label of {factor}, one of {_listed(labels[factor])}")
    level = _label(tree.get(place, first.baseline), labels[factor], f"{where}.{place}", factor)
    along, start, stops = "", None, ()
    if kind != "levels":
        others = [axis for axis in labels if axis not in (factor, first.tuned)]
        if "along" not in tree:
            raise UsageError(f"{where}: along is missing: give the axis to follow, one of {_listed(others)}")
        along = _word(tree["along"], "axis to follow", others, f"{where}.along")
    if kind == "slope" and not all(_positive(label) for label in labels[along]):
        raise UsageError(
            f"{where}.along: a slope needs an axis of numbers above 0, and {along} has {_listed(labels[along])}: use "
            "kind: change"
        )
    if kind in ("within", "change"):
        start = _label(tree.get("start", labels[along][0]), labels[along], f"{where}.start", along)
        wanted = tree.get("stops", [label for label in labels[along] if label != start])
        wanted = wanted if isinstance(wanted, list) else [wanted]
        stops = tuple(_label(stop, labels[along], f"{where}.stops", along) for stop in wanted)
        if start in stops or not stops or len(set(stops)) < len(stops):
            raise UsageError(f"{where}.stops: give other labels of {along} than its start {start!r}, each once")
    rest = [axis for axis in labels if axis not in (factor, along, first.tuned)]
    chosen = _where(tree, labels, rest, f"{where}.where")
    name = _name(tree.get("name", f"{kind} {index}"), "name", path)
    return Contrast(
        kind, name, _name(tree.get("family", FAMILY), "family", path), factor, level, along, start, stops, chosen
    )


def _where(tree: dict[str, Any], labels: Labels, axes: Sequence[str], where: str) -> dict[str, tuple[Any, ...]]:
    """The labels of other axes that take part, by axis."""
    kept = tree.get("where", {})
    if not isinstance(kept, dict):
        raise UsageError(f"{where} is a mapping of axes to labels, not {kept!r}")
    chosen = {}
    for key, given in kept.items():
        axis = _word(key, "other axis", axes, where)
        wanted = given if isinstance(given, list) else [given]
        chosen[axis] = tuple(_label(label, labels[axis], f"{where}.{axis}", axis) for label in wanted)
    return chosen


def _word(value: Any, what: str, known: Sequence[str], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise UsageError(
            f"{where}: {unknown(what, value, known)}"
            if value is not None
            else f"{where} is missing: one of {_listed(known)}"
        )
    return value


def _label(value: Any, known: Sequence[Any], where: str, axis: str) -> Any:
    value = label_of(value)
    if value not in known:
        raise UsageError(f"{where}: {unknown(f'label of {axis}', value, map(str, known))}")
    return value


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _positive(label: Any) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool) and label > 0


def _name(value: Any, key: str, path: Path) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UsageError(f"{path}: compare.{key}: {value!r} is no name: use printable text")
    return value.strip()


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
