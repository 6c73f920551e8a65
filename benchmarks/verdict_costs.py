"""How many seeds a verdict costs, paired and unpaired, at the spreads of a study; `verdicts.py` writes the table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from normbench.stats import (
    Looks,
    chosen_runs,
    chosen_values,
    error_term,
    family_size,
    level_differences,
    seeds_needed,
)
from normbench.stats.cell import cells

ALPHA, POWER = 0.05, 0.8
GOAL = 0.5  # of the seeds of the unpaired analysis
BATCHES = (2, 8, 32, 128)  # of the default study


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


@dataclass(frozen=True)
class Committed:
    """How a committed study compares: columns of its results.csv, and the level that the others are compared with."""

    factor: str
    baseline: str
    across: tuple[str, ...] = ()
    tuned: str = ""


STUDIES = {
    "batch_size": Committed("norm", "batch", ("network", "batch_size")),
    "learning_rate": Committed("norm", "batch", ("model", "batch_size"), "base_lr"),
    "initialisation": Committed("norm", "none", ("init",), "base_lr"),
    "devices": Committed("norm", "batch", ("model", "layout")),
    "colour": Committed("norm", "batch", ("batch_size",)),
    "founding_text": Committed("model", "digit_cnn"),
    "init_or_pixels": Committed("axis norm", "none", ("init", "pixels")),
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

    @property
    def known_share(self) -> float:
        """A fixed number of pairs as a share of the unpaired seeds, if the sds were known."""
        return self.own_sd**2 / (self.own_sd**2 + self.seed_sd**2)


def spread(name: str, reports: Path) -> Spread | str:
    """Seed and residual sd of a committed study; or, in words, why its report does not tell them."""
    study, folder = STUDIES[name], reports / name
    if not (folder / "results.csv").is_file():
        return "no report is committed"
    runs = pd.read_csv(folder / "results.csv", keep_default_na=False, na_values=[""])
    if runs["seed"].nunique() < 2:
        return "its runs have one seed"
    across, trained = list(study.across), runs.drop_duplicates("run_id")  # a run may stand for several cells
    if study.tuned:
        keys = [*across, study.factor]
        runs = chosen_runs(runs, chosen_values(runs, study.tuned, keys, "val_accuracy"), [*keys, study.tuned])
    seed, own, levels = [], [], []
    for _, part in cells(runs, across):
        x = 100 * part.pivot(index=study.factor, columns="seed", values="test_accuracy").dropna()
        x = x.drop_duplicates().to_numpy()  # a copy of another norm is no further observation
        k, n = x.shape
        if k < 2 or n < 2:
            continue
        r = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
        rest = (r**2).sum() / ((k - 1) * (n - 1))
        own.append(rest)
        seed.append(max(x.mean(axis=0).var(ddof=1) - rest / k, 0.0))
        levels.append(k)
    sds = [float(np.sqrt(np.median(values))) for values in (seed, own)]
    a_seed, seconds = len(trained) / trained["seed"].nunique(), float(trained["seconds"].mean())
    return Spread(name, *sds, int(np.median(levels)), _family(runs, study, folder), a_seed, seconds)


def _family(runs: pd.DataFrame, study: Committed, folder: Path) -> int:
    """The number by which the report corrects its first contrast; of an older report, the pairs that have runs."""
    if (folder / "contrasts.csv").is_file():
        return int(pd.read_csv(folder / "contrasts.csv")["family"].iloc[0])
    return family_size(
        level_differences(runs, "test_accuracy", study.factor, study.baseline, across=list(study.across))
    )


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


@dataclass(frozen=True)
class Cost:
    """Seeds with which a difference (points) is found: unpaired, paired, and on average with planned looks."""

    of: Spread
    difference: float
    unpaired: int
    paired: int
    looks: Looks
    mean: float

    @property
    def share(self) -> float:
        """The cheaper of the two paired ways, as a share of the unpaired analysis."""
        return min(self.mean, self.paired) / self.unpaired


def cost(found: Spread, difference: float, trials: int, rng: np.random.Generator) -> Cost:
    """What a verdict of `difference` points costs at these spreads."""
    alpha = ALPHA / found.family
    unpaired = unpaired_seeds(difference, float(np.hypot(found.seed_sd, found.own_sd)), alpha)
    paired = seeds_needed(difference, np.sqrt(2) * found.own_sd, power=POWER, alpha=alpha)
    if paired is None:
        raise ValueError(f"no number of seeds finds {difference} points in {found.name}")
    return Cost(found, difference, unpaired, paired, *planned_seeds(difference, found, trials, rng))


def costs(spreads: Sequence[Spread], differences: Sequence[float], trials: int, seed: int) -> list[Cost]:
    """What each difference costs in each study; every row from the same random numbers."""
    return [cost(*row, trials, np.random.default_rng(seed)) for row in itertools.product(spreads, differences)]


def cost_table(rows: Sequence[Cost]) -> Iterator[str]:
    """Seeds that a verdict costs with each analysis, in Markdown."""
    heads = ["study", "seed sd", "own sd", "family", "difference", "unpaired", "paired", "planned looks"]
    heads += ["their mean", "of unpaired", "sds known", "hours unpaired", "hours paired"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for row in rows:
        found, hours = row.of, row.of.runs_a_seed * row.of.seconds / 3600
        texts = [found.name, f"{found.seed_sd:.3f}", f"{found.own_sd:.3f}", f"{found.family}", f"{row.difference:g}"]
        texts += [f"{row.unpaired}", f"{row.paired}", ", ".join(map(str, row.looks.seeds)), f"{row.mean:.1f}"]
        texts += [f"{row.share:.0%}", f"{found.known_share:.0%}"]
        both = (row.unpaired * hours, row.share * row.unpaired * hours)
        yield f"| {' | '.join([*texts, *(f'{value:.2f}' if hours else '' for value in both)])} |"


def runs_an_hour(page: Path) -> dict[int, tuple[float, float]]:
    """(better script, normbench) at each batch size, from the table of whole studies that `training.py` wrote."""
    table = page.read_text(encoding="utf-8").partition("## Whole studies")[2].partition("\n## ")[0]
    found = {}
    for line in table.splitlines():
        batch, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        if batch.isdigit():
            medians = [float(cell.partition(" ")[0].replace(",", "")) for cell in rest]  # the rounds are in brackets
            *scripts, normbench, _ = medians
            found[int(batch)] = max(scripts), normbench
    if not found:
        raise SystemExit(f"{page}: no table of whole studies; `python benchmarks/training.py --part studies` makes it")
    return found


def time_table(rows: Sequence[Cost], speeds: Mapping[int, tuple[float, float]]) -> Iterator[str]:
    """Hours until a verdict of the default study is there, of the script and of normbench, in Markdown."""
    heads = ["difference", "batch", "seeds, script", "seeds, normbench", "hours, script", "hours, normbench", "share"]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---:|" * len(heads)
    for row, (batch, (script, ours)) in itertools.product(rows, speeds.items()):
        seeds = min(row.mean, row.paired)
        runs = row.of.runs_a_seed / len(BATCHES)
        hours = row.unpaired * runs / script, seeds * runs / ours
        texts = [f"{row.difference:g}", f"{batch}", f"{row.unpaired}", f"{seeds:.1f}"]
        yield f"| {' | '.join([*texts, *(f'{h:.2f}' for h in hours), f'{hours[1] / hours[0]:.0%}'])} |"


def goal_sentence(rows: Sequence[Cost]) -> str:
    """Whether a verdict costs at most half of the unpaired analysis at equal error, and where it does not."""
    met = [row for row in rows if row.share <= GOAL]
    text = f"**At most half of the unpaired analysis was the goal: it is reached in {len(met)} of {len(rows)} rows"
    text += f" ({'; '.join(f'{row.of.name} at {row.difference:g} points' for row in met)})" if met else ""
    above = [row.share for row in rows if row.share > GOAL]
    dearer = sum(share > 1 for share in above)
    if not above:
        return f"{text}.**"
    return (
        f"{text}, and missed in the other {len(above)}, which take {min(above):.0%} to {max(above):.0%} of its seeds; "
        f"in {dearer} of these, pairing costs more than it gives.**"
    )


def bound_sentence(spreads: Sequence[Spread]) -> str:
    """In which studies any fixed number of pairs could take at most half, and why not in the others."""
    able = [found.name for found in spreads if found.known_share <= GOAL]
    return (
        f"If nobody had to estimate a sd, a fixed number of pairs would take at most half in "
        f"{', '.join(able) or 'none'} (*sds known* below); in the other {len(spreads) - len(able)} studies what a seed "
        "gives to all norms varies less than each run does by itself, and no fixed number of pairs can reach it."
    )
