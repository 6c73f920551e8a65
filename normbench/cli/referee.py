"""`normbench referee`: a norm is checked, tuned, and compared with batch, layer and group norm; then a report.

It writes two ordinary study files and does with them what `plan`, `run`, `tune` and `report` do.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.cli.check import add_subject, print_findings, subject
from normbench.cli.launching import add_launching, chosen_launcher, use_data_dir
from normbench.cli.options import folder, number, positive
from normbench.cli.run import train_study
from normbench.errors import UsageError

if TYPE_CHECKING:
    from normbench.norms.check import Finding
    from normbench.spec.registry import Entry
    from normbench.study import Study


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("referee", _referee, "check a norm, compare it with batch, layer and group norm, and write the report")
    add_subject(sub)
    sub.add_argument("--dry-run", action="store_true", help="write the study files and tell the cost, without training")
    sub.add_argument("--anyway", action="store_true", help="go on where the norm breaks the contract")
    sub.add_argument("--budget", metavar="TIME", help="most training, summed over runs: 30m, 2h (default: no limit)")
    sub.add_argument("--name", help="of the study (default: referee_NORM)")
    sub.add_argument("--to", type=folder, default=Path("experiments"), help="folder of the study files (experiments)")
    sub.add_argument("--rates", metavar="LR,LR,LR", help="learning rates that the pilot tries, with commas")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key in every run")
    sub.add_argument("--seeds", type=positive, metavar="N", help="N seeds, not five with a look at three")
    sub.add_argument(
        "--only", action="append", default=[], metavar="AXIS=LABEL,LABEL", help="keep these networks or batch sizes"
    )
    sub.add_argument("--runs", type=folder, default=Path("runs"), help="folder of all run folders (default: runs)")
    sub.add_argument("--reports", type=folder, default=Path("reports"), help="folder of all reports (default: reports)")
    add_launching(sub)


def _referee(options: argparse.Namespace) -> int:
    from normbench.norms.check import check, holds
    from normbench.norms.subject import registered
    from normbench.report import gather, write_report
    from normbench.report.pilot import pilot_choice
    from normbench.spec import yaml_text
    from normbench.store import make_folder, open_store
    from normbench.store.files import write_atomically
    from normbench.study import load_study

    use_data_dir(options)
    budget = _budget(options.budget)
    entry = subject(options)
    findings = check(entry)
    print_findings(entry, findings)
    if not holds(findings) and not options.anyway:
        print("no study of it is made: mend what the table names, or give --anyway", file=sys.stderr)
        return 1
    if not registered(entry):
        raise UsageError(f'{options.norm}: put @register_norm("NAME") above it, so that a study can name it')
    study_file, pilot_file, rates_file = _write_studies(entry, findings, options)
    pilot = load_study(pilot_file) if pilot_file else None
    _tell_cost([*([pilot] if pilot else []), _within(_untuned(study_file), budget)], options, budget)
    if options.dry_run:
        return 0
    if pilot is not None:
        status = train_study(pilot, options)
        if status:
            return status
        choice = pilot_choice(gather(pilot, open_store(options.runs)))
        make_folder(rates_file.parent)
        write_atomically(rates_file, yaml_text(choice))
    study = _within(load_study(study_file), budget)
    status = train_study(study, options)
    if status:
        return status
    for path in write_report(study, open_store(options.runs), options.reports):
        if path.suffix in {".html", ".md"}:
            print(path)
    return 0


def _write_studies(
    entry: Entry, findings: Sequence[Finding], options: argparse.Namespace
) -> tuple[Path, Path | None, Path]:
    """The files of the comparison and of its pilot (None where --set gives the rate), and of the rates."""
    from normbench.cli.arguments import only_options, set_options
    from normbench.study.rates import RATE
    from normbench.study.referee import LOOKS, RATES, axes_of, comparison_tree, pilot_tree, settings_of

    norm, changes = entry.name, set_options(options.set)
    name = options.name or f"referee_{re.sub(r'[^A-Za-z0-9_-]+', '_', norm)}"
    if "model.norm" in changes or "seed" in changes:
        raise UsageError("--set: the referee chooses norms and seeds: use --seeds, or edit the study that it writes")
    every = {key: [str(value) for value in values] for key, values in axes_of(norm, {}).items()}
    only = only_options(options.only, every)
    for axis, labels in only.items():
        if axis not in every or not set(labels) <= set(every[axis]) or (axis == "model.norm" and norm not in labels):
            raise UsageError(f"--only {axis}={','.join(labels)}: keep some of {every}, the norm itself among them")
    axes, settings = axes_of(norm, only), settings_of(changes)
    for key in set(axes) & set(changes):
        raise UsageError(f"--set {key}: it is an axis of the study: use --only {key}=LABEL")
    seeds: Any = options.seeds or dict(LOOKS)
    target: Path = options.to
    study_file, pilot_file = target / f"{name}.yaml", target / f"{name}_pilot.yaml"
    rates_file = target / "rates" / f"{name}.yaml"
    tuned = RATE not in changes
    rates = _rates(options.rates) if options.rates else list(RATES)
    own = [entry.source] if not entry.source.startswith(_package()) else []
    plugins = [os.path.relpath(path, target) for path in dict.fromkeys([*own, *options.plugins])]
    listed = {"plugins": plugins} if plugins else {}
    source = f"rates/{name}.yaml" if tuned else None
    study = comparison_tree(name, norm, axes, settings, source, seeds, _notes(norm, findings))
    trees = {study_file: {**study, **listed}}
    if tuned:
        trees[pilot_file] = {**pilot_tree(name, norm, axes, settings, rates), **listed}
    given = bool(options.set or options.seeds or options.only or options.rates)
    for path, tree in trees.items():
        _write(path, tree, given)
    return study_file, pilot_file if tuned else None, rates_file


def _write(path: Path, tree: dict[str, Any], given: bool) -> None:
    """Writes a study file; one that is there stays, and has to say the same where the command line asks for more."""
    from normbench.spec import yaml_text
    from normbench.store import make_folder
    from normbench.store.files import write_atomically

    text = yaml_text(tree)
    if path.is_file():
        if given and path.read_text(encoding="utf-8") != text:
            raise UsageError(f"{path} is there and says otherwise: leave out the options, delete it, or give --name")
        print(f"{path}: kept as it is")
        return
    make_folder(path.parent)
    write_atomically(path, text)
    print(f"{path}: written; edit it as you like")


def _untuned(path: Path) -> Study:
    """The comparison as it will be, with one rate where it will take them from a file that the pilot writes."""
    from normbench.spec import read_yaml, yaml_text
    from normbench.study import load_study
    from normbench.study.referee import RATES

    tree = read_yaml(path, "study")
    optimizer = (tree.get("base") or {}).get("optimizer")
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("lr"), dict):
        return load_study(path)
    optimizer["lr"] = RATES[len(RATES) // 2]
    tree["plugins"] = [str((path.parent / plugin).resolve()) for plugin in tree.get("plugins") or []]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / path.name
        copy.write_text(yaml_text(tree), encoding="utf-8")
        return load_study(copy)


def _budget(text: str | None) -> float | None:
    """Seconds that a command line allows; None: no limit."""
    from normbench.study.looks import seconds_of

    if text is None:
        return None
    try:
        return seconds_of(text)
    except ValueError as error:
        raise UsageError(f"--budget {text}: {error}") from None


def _within(study: Study, budget: float | None) -> Study:
    """The study with a budget, which says when a further look is not begun; its file says nothing of it."""
    if budget is None or study.looks is None:
        return study
    return dataclasses.replace(study, looks=dataclasses.replace(study.looks, budget=budget))


def _tell_cost(studies: Sequence[Study], options: argparse.Namespace, budget: float | None) -> None:
    """Prints what each study comes to; raises UsageError where pilot and first look are above the budget."""
    from normbench.cli.looks import look_lines
    from normbench.cli.measured import measured, time_told
    from normbench.launch.progress import duration
    from normbench.launch.study import tasks_of
    from normbench.store import open_store
    from normbench.study import iter_pending, make_plan

    store, needed = open_store(options.runs), 0.0
    for study in studies:
        plan = make_plan(study)
        left = list(iter_pending(plan, store.finished(plan.ids)))
        speed = measured(plan, store, left)
        workers = chosen_launcher(options, study).build().at_once(tasks_of(left or plan.runs, store))
        told = f": {time_told(left, speed, workers)}" if left else ""
        print(
            f"{study.name}: {number(len(plan.runs), 'run')} in {number(len(plan.runs) // len(study.seeds), 'cell')}, "
            f"{number(len(plan.skipped), 'cell')} skipped, {len(left)} runs to do{told}"
        )
        for line in look_lines(plan, store):
            print(f"  {line}")
        first = study.seeds[: study.looks.seeds[0]] if study.looks else study.seeds
        needed += sum(speed.seconds(run.config) for run in left if run.seed in first)
    if budget is not None and needed > budget:
        raise UsageError(
            f"--budget {options.budget}: pilot and first look are estimated at {duration(needed)} of training: give "
            "more, or train less (--set budget.samples=N, --only model.name=NAME)"
        )


def _rates(text: str) -> list[float]:
    try:
        rates = sorted({float(part) for part in text.split(",")})
    except ValueError:
        rates = []
    if len(rates) < 3 or rates[0] <= 0:
        raise UsageError(f"--rates {text}: give three numbers above 0 or more, since the best may be neither end")
    return rates


def _notes(norm: str, findings: Sequence[Finding]) -> str:
    """What the check found, for the report."""
    facts = {finding.subject: finding.told for finding in findings}
    broken = [finding.subject for finding in findings if finding.holds is False]
    state = f"It breaks the contract: {', '.join(broken)}." if broken else "It keeps the contract of a norm."
    return (
        f"{norm} averages over {facts['averages over']}; evaluation {facts['evaluation']}. {state} Each norm has its "
        "own learning rate in each cell, chosen by the pilot on validation images and a seed of its own."
    )


def _package() -> str:
    import normbench

    return str(Path(normbench.__file__).resolve().parent)
