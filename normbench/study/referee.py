"""The two studies that judge a norm: a pilot that tunes its learning rates, and the comparison. Ordinary YAML trees."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from normbench.errors import UsageError
from normbench.spec import resolve, run_config
from normbench.study.rates import RATE

RIVALS = ("batch", "layer", "group")
NETWORKS = ("digit_cnn", "strided_cnn", "mlp", "resnet8")
BATCHES = (2, 32)
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
PILOT_SEED = 1000  # on which no result is reported
SAMPLES = 20_000
SETTINGS: dict[str, Any] = {
    "data.name": "mnist",
    "model.init": "he",
    "model.init_bias": 0.0,
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.lr_scaling": "linear",
    "optimizer.reference_batch": 32,
    "optimizer.schedule": "cosine",
}
LOOKS = {"looks": [3, 5], "spend": [0.4, 0.6], "stop": "decided"}
Tree = dict[str, Any]


def axes_of(norm: str, only: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The axes that both studies share, with the labels that are kept of them, given as text."""
    axes: dict[str, list[Any]] = {
        "model.norm": [*(rival for rival in RIVALS if rival != norm), norm],
        "model.name": list(NETWORKS),
        "data.batch_size": list(BATCHES),
    }
    return {key: [v for v in values if key not in only or str(v) in only[key]] for key, values in axes.items()}


def settings_of(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of every run, with `changes`; the budget is theirs if they have one."""
    own = any(key.startswith("budget.") for key in changes)
    return {**SETTINGS, **({} if own else {"budget.samples": SAMPLES}), **changes}


def pilot_tree(
    name: str, norm: str, axes: Mapping[str, list[Any]], settings: Mapping[str, Any], rates: Sequence[float]
) -> Tree:
    """The pilot: half of the budget, one seed of its own, every rate in every cell.

    Args:
        name: Of the comparison.
        norm: The norm that is judged.
        axes: See `axes_of`.
        settings: See `settings_of`.
        rates: What it tries; a best one at either end is refused by `normbench tune`.
    """
    halved = {key: max(1, settings[key] // 2) for key in ("budget.samples", "budget.steps") if settings.get(key)}
    return {
        "name": f"{name}_pilot",
        "question": f"Which learning rate suits {norm} and its rivals, in each network and batch size?",
        "base": _nested({**settings, **halved}),
        "grid": {**axes, RATE: list(rates)},
        "seeds": [PILOT_SEED],
        **_skips(norm, axes, settings),
        "compare": {"factor": "model.norm", "baseline": norm, "tuned": RATE},
    }


def comparison_tree(
    name: str,
    norm: str,
    axes: Mapping[str, list[Any]],
    settings: Mapping[str, Any],
    rates: str | None,
    seeds: Any,
    notes: str,
) -> Tree:
    """The comparison: each rival with the norm, in each network and batch size, and what small batches do to each.

    Args:
        name: Of the study.
        norm: The norm that is judged, which all others are compared with.
        axes: See `axes_of`.
        settings: See `settings_of`.
        rates: The file of rates, as the study names it; None where `settings` have the rate.
        seeds: As a study writes them.
        notes: What a reader should know.
    """
    compare: list[Tree] = [{"factor": "model.norm", "baseline": norm, "metric": "test_accuracy", "margin": 0.005}]
    sizes = axes["data.batch_size"]
    if len(sizes) > 1:
        change = {"kind": "change", "baseline": norm, "along": "data.batch_size", "start": sizes[-1]}
        compare.append({"name": "small batches", **change, "stops": sizes[:-1], "family": "small batches"})
    return {
        "name": name,
        "question": f"Is {norm} better than batch, layer and group norm, at small and at ordinary batches?",
        "notes": notes,
        "base": _nested({**settings, **({RATE: {"from": rates}} if rates else {})}),
        "grid": dict(axes),
        "seeds": seeds,
        **_skips(norm, axes, settings),
        "compare": compare,
    }


def _skips(norm: str, axes: Mapping[str, list[Any]], settings: Mapping[str, Any]) -> Tree:
    """Rules for the cells that cannot be: in which the norm has one value for each statistic, say."""
    rules = list(_skip_rules(norm, axes, settings))
    return {"skip": rules} if rules else {}


def _skip_rules(norm: str, axes: Mapping[str, list[Any]], settings: Mapping[str, Any]) -> Iterator[Tree]:
    for network in axes["model.name"]:
        for size in axes["data.batch_size"]:
            cell = {"model.norm": norm, "model.name": network, "data.batch_size": size}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # two values a statistic: the plan says so
                    resolve(run_config({**settings, **cell}))
            except UsageError as error:
                yield {"when": cell, "reason": " ".join(str(error).split())}


def _nested(settings: Mapping[str, Any]) -> Tree:
    """Dotted keys as a file writes them: by section."""
    tree: Tree = {}
    for key, value in settings.items():
        section, dot, rest = key.partition(".")
        if dot:
            tree.setdefault(section, {})[rest] = value
        else:
            tree[section] = value
    return tree
