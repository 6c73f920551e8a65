"""How many seeds a verdict costs, paired and unpaired, at the spreads of a study; `verdicts.py` writes the table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from normbench.stats import Looks, error_term, family_size, level_differences, seeds_needed
from normbench.stats.cell import cells

ALPHA, POWER = 0.05, 0.8


def p_values(values: np.ndarray, method: str) -> np.ndarray:
    """Unadjusted two-sided p of each norm against the baseline: (..., norms - 1), from (..., norms, seeds)."""
    k, n = values.shape[-2:]
    differences = values[..., 1:, :] - values[..., :1, :]
    mean, own = differences.mean(axis=-1), differences.var(axis=-1, ddof=1)
    degrees: float | np.ndarray = n - 1
    if method == "unpaired":
        v = values.var(axis=-1, ddof=1) / n
        one, two = v[..., 1:], v[..., :1]
        degrees = (one + two) ** 2 * (n - 1) / (one**2 + two**2)
        return 2 * special.stdtr(degrees, -np.abs(mean) / np.sqrt(one + two))
    if method != "paired":
        r = values - values.mean(axis=-1, keepdims=True) - values.mean(axis=-2, keepdims=True)
        r += values.mean(axis=(-1, -2), keepdims=True)
        doubled = 2 * (r**2).sum(axis=(-1, -2))[..., None] / ((k - 1) * (n - 1))
        weight = np.inf if method == "pooled" else (k - 2) / (k - 1)
        if method == "pooled":
            own, degrees = np.broadcast_to(doubled, own.shape), (k - 1) * (n - 1)
        else:
            own, degrees = (weight * doubled + (n - 1) * own) / (weight + n - 1), weight + n - 1
    return 2 * special.stdtr(degrees, -np.abs(mean) / np.sqrt(own / n))


# Committed studies: the factor, its baseline, the other axes.
STUDIES = {
    "batch_size": ("norm", "batch", ["batch_size"]),
    "devices": ("norm", "batch", ["model", "layout"]),
    "founding_text": ("model", "digit_cnn", []),
}


@dataclass(frozen=True)
class Spread:
    """What the runs of a study say: sds in points (median over cells), levels in a cell, family, runs and time."""

    name: str
    seed_sd: float
    own_sd: float
    levels: int
    family: int
    runs_a_seed: float
    seconds: float


def spread(name: str, reports: Path) -> Spread | None:
    """Seed and residual sd of a committed study; None without its report, or with one seed."""
    table = reports / name / "results.csv"
    if not table.is_file():
        return None
    runs = pd.read_csv(table, keep_default_na=False, na_values=[""])
    factor, baseline, across = STUDIES[name]
    if runs["seed"].nunique() < 2:
        return None
    seed, own, levels = [], [], []
    for _, part in cells(runs, across):
        x = 100 * part.pivot(index=factor, columns="seed", values="test_accuracy").dropna()
        x = x.drop_duplicates().to_numpy()  # a copy of another norm is no further observation
        k, n = x.shape
        if k < 2:
            continue
        r = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
        rest = (r**2).sum() / ((k - 1) * (n - 1))
        own.append(rest)
        seed.append(max(x.mean(axis=0).var(ddof=1) - rest / k, 0.0))
        levels.append(k)
    declared = family_size(level_differences(runs, "test_accuracy", factor, baseline, across=across))
    sds = [float(np.sqrt(np.median(values))) for values in (seed, own)]
    a_seed = len(runs) / runs["seed"].nunique()
    return Spread(name, *sds, int(np.median(levels)), declared, a_seed, float(runs["seconds"].mean()))


def unpaired_seeds(difference: float, sd: float, alpha: float) -> int:
    """Seeds a side with which the two-sample t test at level `alpha` finds `difference` with the power asked for."""
    for n in itertools.count(2):
        critical = special.stdtrit(2 * n - 2, 1 - alpha / 2)
        if 1 - special.ncfdtr(1, 2 * n - 2, n * (difference / sd) ** 2 / 2, critical**2) >= POWER:
            return n
    raise AssertionError


def plans(last: int) -> Iterator[Looks]:
    """Plans with a last look at `last` seeds: that one alone, early ones at 3 and 5, ones at .6 and .8 of it."""
    for early in ((), (3, 5), (math.ceil(0.6 * last), math.ceil(0.8 * last))):
        seeds = [n for n in dict.fromkeys(early) if 3 <= n < last] + [last]
        yield Looks(seeds, {1: (1.0,), 2: (0.3, 0.7), 3: (0.2, 0.3, 0.5)}[len(seeds)])


def decided_at(values: np.ndarray, looks: Looks, of_family: int) -> np.ndarray:
    """The look (counted from 0; the number of looks: never) at which norm 1 is told from norm 0, one a trial."""
    at = np.full(len(values), len(looks.seeds))
    for look in reversed(range(len(looks.seeds))):
        n = looks.seeds[look]
        p = p_values(values[..., :n], error_term("auto", n))[:, 0]
        at[p * of_family < looks.alpha(look, ALPHA)] = look
    return at


def planned_seeds(difference: float, found: Spread, trials: int, rng: np.random.Generator) -> tuple[Looks, float]:
    """(plan, mean seeds until decided) of the cheapest plan with the power asked for."""
    most = 10 + 2 * (seeds_needed(difference, np.sqrt(2) * found.own_sd, alpha=ALPHA / found.family) or 1000)
    values = found.own_sd * rng.normal(size=(trials, max(2, found.levels), most))
    values[:, 1] += difference
    best: tuple[Looks, float] | None = None
    for last in range(3, most + 1):
        for looks in plans(last):
            at = decided_at(values, looks, found.family)
            mean = float(np.array([*looks.seeds, last])[at].mean())
            if (at < len(looks.seeds)).mean() >= POWER and (best is None or mean < best[1]):
                best = looks, mean
    if best is None:
        raise ValueError(f"no plan up to {most} seeds finds {difference} points in {found.name}: raise the limit")
    return best


def cost_row(found: Spread, difference: float, trials: int, rng: np.random.Generator) -> list[str]:
    """Seeds unpaired, paired, and with planned looks, and the share that these are of the unpaired."""
    alpha = ALPHA / found.family
    unpaired = unpaired_seeds(difference, float(np.hypot(found.seed_sd, found.own_sd)), alpha)
    paired = seeds_needed(difference, np.sqrt(2) * found.own_sd, power=POWER, alpha=alpha)
    looks, mean = planned_seeds(difference, found, trials, rng)
    hours = found.runs_a_seed * found.seconds / 3600
    texts = [found.name, f"{found.seed_sd:.3f}", f"{found.own_sd:.3f}", f"{found.family}", f"{difference:g}"]
    texts += [f"{unpaired}", f"{paired}", ", ".join(map(str, looks.seeds)), f"{mean:.1f}", f"{mean / unpaired:.0%}"]
    return [*texts, *([f"{unpaired * hours:.2f}", f"{mean * hours:.2f}"] if hours else ["", ""])]


def cost_table(spreads: Sequence[Spread], differences: Sequence[float], trials: int, seed: int) -> Iterator[str]:
    """Seeds that a verdict costs with each analysis, in Markdown."""
    heads = ["study", "seed sd", "own sd", "family", "difference", "unpaired", "paired", "planned looks"]
    heads += ["their mean", "of unpaired", "hours unpaired", "hours with looks"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for found, difference in itertools.product(spreads, differences):
        yield f"| {' | '.join(cost_row(found, difference, trials, np.random.default_rng(seed)))} |"
