"""How often verdicts err, how often they find what is there, and what one costs: simulation.

    python benchmarks/verdicts.py [--trials 2500] [--out benchmarks/verdicts.md]

First table: four cells of a baseline and four norms, family of 16. Second: the spreads of the committed studies
(reports/*/results.csv), and the seeds that a verdict needs, paired with planned looks and unpaired, at equal error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from verdict_costs import (
    ALPHA,
    STUDIES,
    Spread,
    bound_sentence,
    cost_table,
    costs,
    goal_sentence,
    p_values,
    runs_an_hour,
    spread,
    time_table,
)

from normbench.stats import Criterion, Looks, error_term, estimates, level_differences

NORMS, CELLS, SEED_SD, OWN_SDS = 5, 4, 0.15, (0.04, 0.06, 0.09, 0.14)
DIFFERENCES = (0.8, 0.25)
MEANT = (0.25, 0.5, 1.0)  # points
METHODS = {
    "unpaired": "unpaired Welch, Holm (the usual script)",
    "paired": "paired",
    "paired, Holm": "paired, Holm (no interval agrees with it)",
    "shrunk": "shrunk",
    "pooled": "pooled",
}


@dataclass(frozen=True)
class Setting:
    """Spreads of one column: the log-sd of the norms' own sds, and factors of the baseline's and one norm's."""

    name: str
    seeds: int
    log_sd: float = 0.0
    baseline: float = 1.0
    wild: float = 1.0


SETTINGS = (
    Setting("n = 3, equal sds", 3),
    Setting("n = 3, log-sd .5", 3, log_sd=0.5),
    Setting("n = 3, baseline's sd x5", 3, baseline=5),
    Setting("n = 3, one norm's sd x10", 3, wild=10),
    Setting("n = 5, equal", 5),
    Setting("n = 5, log-sd 1", 5, log_sd=1.0),
    Setting("n = 8, equal", 8),
)


def simulated(setting: Setting, difference: float, trials: int, rng: np.random.Generator) -> np.ndarray:
    """Values in points: trials x cells x norms x seeds; norm 0 is the baseline, the others differ by `difference`."""
    own = np.array(OWN_SDS)[:, None] * np.exp(setting.log_sd * rng.normal(size=(trials, CELLS, NORMS)))
    own[..., 0] *= setting.baseline
    own[..., 1] *= setting.wild
    shape = (trials, CELLS, NORMS, setting.seeds)
    values = SEED_SD * rng.normal(size=(trials, CELLS, 1, setting.seeds)) + own[..., None] * rng.normal(size=shape)
    values[..., 1:, :] += difference
    return values


def found(p: np.ndarray, holm: bool) -> np.ndarray:
    """Which of the p (trials x family) are rejected at the family's level."""
    m = p.shape[1]
    if not holm:
        return p * m < ALPHA
    order = np.argsort(p, axis=1)
    steps = np.maximum.accumulate(np.take_along_axis(p, order, axis=1) * np.arange(m, 0, -1), axis=1)
    result = np.empty(p.shape, dtype=bool)
    np.put_along_axis(result, order, steps < ALPHA, axis=1)
    return result


def family(values: np.ndarray, method: str) -> np.ndarray:
    """Rejections of every trial: trials x (cells x norms - 1)."""
    p = p_values(values, method.partition(",")[0]).reshape(len(values), -1)
    return found(p, holm=method in ("unpaired", "paired, Holm"))


def check_against_estimates(rng: np.random.Generator) -> None:
    """The arrays above are a fast copy: hold them to the p of `estimates`."""
    values = simulated(SETTINGS[1], 0.2, 3, rng)
    index = np.indices(values.shape).reshape(4, -1)
    frame = pd.DataFrame(dict(zip(("trial", "cell", "norm", "seed"), index, strict=True)) | {"y": values.ravel()})
    differences = level_differences(frame, "y", "norm", 0, across=["trial", "cell"])
    for error in ("paired", "shrunk", "pooled"):
        table = estimates(differences, Criterion(error=error), family=10**6)
        np.testing.assert_allclose(table["p"].to_numpy().reshape(3, CELLS, -1), p_values(values, error), rtol=1e-9)


def error_table(trials: int, rng: np.random.Generator) -> Iterator[str]:
    """Family-wise error and power of each method in each setting, in Markdown."""
    yield "| comparison | " + " | ".join(setting.name for setting in SETTINGS) + " |"
    yield "|---|" + "---|" * len(SETTINGS)
    columns = []
    for setting in SETTINGS:
        draws = [simulated(setting, difference, trials, rng) for difference in (0.0, *DIFFERENCES)]
        none, *some = [{name: family(draw, name) for name in METHODS} for draw in draws]
        columns.append(
            {
                name: f"{none[name].any(axis=1).mean():.3f} ({'/'.join(f'{hit[name].mean():.2f}' for hit in some)})"
                for name in METHODS
            }
        )
    for name, label in METHODS.items():
        yield f"| {label} | " + " | ".join(column[name] for column in columns) + " |"


def looks_error(trials: int, rng: np.random.Generator) -> str:
    """Family-wise error of the whole procedure, and of looking as often without splitting the level."""
    looks = Looks((3, 5, 10), (0.2, 0.3, 0.5))
    values = simulated(Setting("", 10), 0.0, trials, rng)
    split, unsplit = np.zeros(trials, dtype=bool), np.zeros(trials, dtype=bool)
    for look, n in enumerate(looks.seeds):
        p = p_values(values[..., :n], error_term("auto", n)).reshape(trials, -1).min(axis=1) * CELLS * (NORMS - 1)
        split |= p < looks.alpha(look, ALPHA)
        unsplit |= p < ALPHA
    return f"{split.mean():.3f} with the level split .2, .3, .5; {unsplit.mean():.3f} at the full level each time"


def main() -> None:
    """Run everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2500)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--speeds", type=Path, default=Path("benchmarks/training.md"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/verdicts.md"))
    options = parser.parse_args()
    started, rng = time.perf_counter(), np.random.default_rng(20)
    check_against_estimates(rng)
    told = {name: spread(name, options.reports) for name in STUDIES}
    committed = [found for found in told.values() if isinstance(found, Spread)]
    untold = "; ".join(f"{name} ({why})" for name, why in told.items() if isinstance(why, str))
    rows = costs(committed, MEANT, options.trials, 21)
    made_up = [Spread(f"seed sd {x:g} x own", 0.1 * x, 0.1, 5, 16, 0, 0) for x in (0, 1, 2, 3, 5)]
    sds = ", ".join(f"{sd:g}" for sd in OWN_SDS)
    lines = [
        "# What verdicts err, find and cost",
        "",
        f"`python benchmarks/verdicts.py --trials {options.trials}`, seeded.",
        "",
        "## Error and power",
        "",
        f"{CELLS} cells of a baseline and {NORMS - 1} norms, family of {CELLS * (NORMS - 1)}, level 5 %. Sd of what a "
        f"seed gives to all norms: {SEED_SD} points; own sd of a norm's run: {sds} points in the four cells (log-sd: "
        "spread of the norms' own sds about it; x5, x10: factor of one of them). Entries: family-wise error without a "
        f"difference (share of the 16 found where all norms are {DIFFERENCES[0]} / {DIFFERENCES[1]} points from the "
        "baseline). Bonferroni, as in the reports, where Holm is not named.",
        "",
        *error_table(options.trials, rng),
        "",
        "Pooled does not keep the level where norms differ in spread. `auto` is shrunk below five planned seeds and "
        "paired from five on.",
        "",
        "Planned looks at 3, 5 and 10 seeds, same family, equal sds, family-wise error: "
        f"{looks_error(options.trials, rng)}.",
        "",
        "## What a verdict costs",
        "",
        goal_sentence(rows),
        "",
        bound_sentence(committed),
        "",
        "Seeds with which a true difference of so many points is found with probability .8 in one contrast, at a "
        "family-wise error of 5 % over the study's contrasts. Sds in points of test accuracy, the median over the "
        "study's cells. Unpaired: t test of two means, equal sds, Bonferroni, as many seeds a side. Paired: a fixed "
        "number. Planned looks: of several plans (the last look alone; after 3 and 5; after .6 and .8 of the last; "
        "level split .2, .3, .5) the one that decides with the fewest seeds on average, error term `auto`; where "
        "norms do not differ, it goes on to its last look. Of unpaired: the fewer of paired and looks. Sds known: own "
        "variance over the sum of both, the share that pairs would take if nobody had to estimate a sd. Hours: "
        "training time of every run of the study for so many seeds, as its results record it.",
        "",
        *cost_table(rows),
        "",
        *([f"Without a row: {untold}.", ""] if untold else []),
        "Pairing removes what a seed gives to all norms, and costs half of the degrees of freedom: it pays as far as "
        "the seed's sd exceeds the runs' own, so compare the two in each row (0: no shared part is seen). Otherwise a "
        "norm's own noise decides how many seeds a verdict takes, whatever the analysis. Made-up spreads, a family of "
        "16:",
        "",
        *cost_table(costs(made_up, MEANT[:2], options.trials, 22)),
        "",
        "## Time to a verdict",
        "",
        "Hours on two cores until a contrast of the default study (`batch_size`) is decided: the seeds of the table "
        "above times the runs of a seed at one batch size, at the runs an hour that `training.md` measured for whole "
        "studies (digit CNN; the other network is taken to cost as much). *Script*: the better obvious script and the "
        "unpaired analysis. *normbench*: paired or planned looks, whichever takes fewer seeds. Equal error, power .8.",
        "",
        *time_table([row for row in rows if row.of.name == "batch_size"], runs_an_hour(options.speeds)),
        "",
    ]
    options.out.write_text("\n".join(lines), encoding="utf-8")
    print(json.dumps({"seconds": round(time.perf_counter() - started), "out": str(options.out)}))


if __name__ == "__main__":
    main()
