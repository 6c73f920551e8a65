"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normbench import __version__
from normbench.errors import NormbenchError, UsageError
from normbench.tracking.commands import add_wandb_commands

if TYPE_CHECKING:
    from normbench.study.study import Plan

INTERRUPTED = 130

EPILOG = """a study is a YAML file, or the name of one in experiments/
exit status: 0 done, 1 a run or a file failed, 2 the request was wrong, 130 stopped by Ctrl-C"""


def run_command(argv: Sequence[str]) -> int:
    """Runs a command line and returns its exit status. Errors a user can mend are one line on stderr."""
    debug = "--debug" in argv
    try:
        if argv and argv[0] == "train":
            return _train(argv[1:])
        options = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `normbench plan … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NormbenchError as error:
        if debug:
            raise
        print(f"normbench: error: {error}", file=sys.stderr)
        return error.exit_status
    except Exception as error:
        if debug:
            raise
        line = " ".join(str(error).split())
        print(f"normbench: error: {type(error).__name__}: {line} (--debug shows where)", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="normbench",
        description="What does a normalization do to training, compared with the others, and how sure can one be?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"normbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        return sub

    def add_study(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = add(name, command, text)
        sub.add_argument("study", help="a study file, or the name of one in experiments/")
        sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all run folders (default: runs)")
        return sub

    add("train", lambda options: 0, "train one run; see normbench train --help")
    plan = add_study("plan", _plan, "print the runs of a study, what is skipped, done, and left, without training")
    run = add_study("run", _run, "train the runs of a study that have no result yet")
    for sub in (plan, run):
        sub.add_argument(
            "--workers", type=_positive, help="worker processes (default: cores / threads of a run, or GPUs / devices)"
        )
    run.add_argument("--data-dir", type=Path, help="folder with MNIST/raw/*-ubyte (also: NORMBENCH_DATA_DIR)")
    status = add_study("status", _status, "tell which runs are done, running, failed or waiting")
    status.add_argument("--live", action="store_true", help="show the curves of running runs until Ctrl-C")
    report = add_study("report", _report, "write tables, figures and report.html of a study, finished or not")
    report.add_argument("--watch", action="store_true", help="write them again while the study runs, until it is done")
    tables = add_study("tables", _tables, "write the tables alone: CSV, Markdown, LaTeX")
    plots = add_study("plots", _plots, "write the figures alone: SVG, PNG")
    compare = add("compare", _compare, "reports of several studies, or of two versions of one, side by side")
    compare.add_argument("sides", nargs="+", metavar="REPORT", help="a study with a report, or a report folder")
    compare.add_argument("--allow", action="append", default=[], metavar="FIELD", help="a field that may differ")
    for sub in (report, tables, plots, compare):
        sub.add_argument(
            "--reports", type=Path, default=Path("reports"), help="folder of all reports (default: reports)"
        )
    add_wandb_commands(commands.add_parser("wandb", help="Weights & Biases: push runs, pull runs, make a report"))
    norms = add("norms", _norms, "print the table of norms")
    norms.add_argument(
        "--channels", type=_positive, default=64, help="channels C for the parameter count (default: 64)"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return value


def _train(argv: Sequence[str]) -> int:
    from normbench.spec.parse import parse_train
    from normbench.spec.schema import run_id

    config, options = parse_train(argv)
    from normbench.data.source import ensure
    from normbench.spec.resolve import resolve, steps
    from normbench.spec.schema import replace

    config = resolve(config)
    # Known before the run has a name: a fall-back to mnist_5k is another run.
    config = resolve(replace(config, {"data.name": ensure(config.data)}))
    folder = Path(options.folder or Path(options.runs, "single", run_id(config)))
    from rich.console import Console
    from rich.progress import Progress

    from normbench.launch.ranks import execute
    from normbench.store.folder import claimed, read_result
    from normbench.tracking.mode import settled

    with claimed(folder) as mine:
        if not mine:
            raise NormbenchError(f"{folder} is being trained by another process: wait for it")
        result = read_result(folder)
        if result is None:
            with settled(config.logger), Progress(console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task("training", total=steps(config))
                result = execute(config, folder, lambda step: bar.update(task, completed=step))
    if result["diverged_at_step"] is not None:
        print(f"diverged at step {result['diverged_at_step']} of {steps(config)}")
    for name, value in result["metrics"].items():
        if value is not None:
            print(f"{name:>24} {value:.5g}")
    print(f"{'folder':>24} {folder}")
    return 0


def _workers(options: argparse.Namespace, plan: Plan) -> int:
    if options.workers:
        return int(options.workers)
    from normbench.launch.gpus import visible_gpus
    from normbench.spec.resolve import devices

    configs = [run.config for run in plan.runs]
    if (gpus := visible_gpus()) and any(config.trainer.accelerator != "cpu" for config in configs):
        return max(1, len(gpus) // max(map(devices, configs)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(config.trainer.threads for config in configs))


def _plan(options: argparse.Namespace) -> int:
    from normbench.launch.progress import duration
    from normbench.store.folder import finished_ids
    from normbench.study.study import describe, iter_pending, load_study, make_plan, time_left

    plan = make_plan(load_study(options.study))
    study = plan.study
    done = finished_ids(options.runs / study.name)
    print(f"{study.name}: {study.question}")
    for run in plan.runs:
        print(f"  {run.id}  {'done' if run.id in done else 'to do'}  {describe(run.cell)}, seed {run.seed}")
    for cell, reason in plan.skipped:
        print(f"  skipped           {describe(cell)}: {reason}")
    left = list(iter_pending(plan, done))
    workers = _workers(options, plan)
    seconds, basis = time_left(plan, options.runs / study.name, done)
    print(
        f"{len(plan.runs)} runs ({len(plan.runs) // len(study.seeds)} cells, {len(study.seeds)} seeds), "
        f"{len(plan.skipped)} cells skipped, {len(plan.runs) - len(left)} runs done, {len(left)} to do: "
        f"about {duration(seconds / workers)} with {workers} workers ({basis})"
    )
    return 0


def _run(options: argparse.Namespace) -> int:
    from normbench.data.source import ensure
    from normbench.launch.gpus import gpus_to_share
    from normbench.launch.pool import Pool
    from normbench.launch.progress import Display
    from normbench.store.folder import finished_ids, make_folder, read_result
    from normbench.study.study import describe, iter_pending, load_study, make_plan
    from normbench.tracking.mode import settled

    if options.data_dir:
        os.environ["NORMBENCH_DATA_DIR"] = str(options.data_dir.resolve())
    study = load_study(options.study)
    folder = options.runs / study.name
    make_folder(folder)
    for data in {run.config.data.name: run.config.data for run in make_plan(study).runs}.values():
        ensure(data)  # a download, or the fall-back, is decided once and before any worker starts
    plan = make_plan(study)
    done = finished_ids(folder)
    for run in plan.runs:
        if run.id in done:
            read_result(folder / run.id)  # a broken or older result is named before anything is trained
    left = list(iter_pending(plan, done))
    if not left:
        print(f"{study.name}: all {len(plan.runs)} runs are done", file=sys.stderr)
        return 0
    workers = _workers(options, plan)
    print(f"{study.name}: {len(left)} of {len(plan.runs)} runs to train with {workers} workers", file=sys.stderr)
    # A scheduler's or a shell's polite end is a Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with settled(study.base.logger), Display(left) as display:
            Pool(workers, folder, display, gpus_to_share(run.config for run in plan.runs)).run(left)
    except KeyboardInterrupt:
        count = len(finished_ids(folder) & {run.id for run in plan.runs})
        print(
            f"stopped: {count} of {len(plan.runs)} runs are done; the same command continues, unfinished runs from "
            "their last checkpoint",
            file=sys.stderr,
        )
        return INTERRUPTED
    for run, line in display.failed:
        print(f"failed: {describe(run.cell)}, seed {run.seed}: {line} ({folder / run.id})", file=sys.stderr)
    return 1 if display.failed else 0


def _status(options: argparse.Namespace) -> int:
    from normbench.store.folder import ERROR, finished_ids, state
    from normbench.study.study import describe, fullest, load_study, possible_plans

    study = load_study(options.study)
    folder = options.runs / study.name
    plan = fullest(possible_plans(study), finished_ids(folder))
    if options.live:
        from normbench.cli.live import watch

        watch(plan, folder)
        return 0
    counts: dict[str, int] = {}
    for run in plan.runs:
        now = state(folder / run.id)
        counts[now] = counts.get(now, 0) + 1
        if now in {"running", "failed", "interrupted"}:
            line = f"  {now:<11} {run.id}  {describe(run.cell)}, seed {run.seed}"
            if now == "failed":
                line += ": " + (folder / run.id / ERROR).read_text(encoding="utf-8").strip().splitlines()[-1]
            print(line)
    for cell, reason in plan.skipped:
        print(f"  skipped     {describe(cell)}: {reason}")
    order = ("done", "running", "failed", "interrupted", "waiting")
    said = ", ".join(f"{counts[name]} {name}" for name in order if name in counts)
    print(f"{plan.study.name}: {said}, {len(plan.skipped)} cells skipped")
    return 0


def _report(options: argparse.Namespace) -> int:
    from normbench.report import PARTS, watch_report

    if options.watch:
        for said in watch_report(options.study, options.runs, options.reports):
            print(said, flush=True)
        return 0
    return _write(options, tuple(PARTS))


def _write(options: argparse.Namespace, parts: tuple[str, ...]) -> int:
    from normbench.report import write_report

    for path in write_report(options.study, options.runs, options.reports, parts):
        print(path)
    return 0


def _tables(options: argparse.Namespace) -> int:
    return _write(options, ("tables",))


def _plots(options: argparse.Namespace) -> int:
    return _write(options, ("figures",))


def _compare(options: argparse.Namespace) -> int:
    from normbench.report.compare import load_side, side_by_side
    from normbench.report.tables import markdown

    if len(options.sides) < 2:
        raise UsageError("compare: name two reports or more")
    print(markdown(side_by_side([load_side(name, options.reports) for name in options.sides], options.allow)))
    return 0


def _norms(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from normbench.norms import NORMS, norm_options
    from normbench.norms.registry import check_norm

    scopes = {"none": "0", "sample": "1", "device": "batch of a device", "global": "global batch"}
    table = Table(title=f"norms, for an input (N, {options.channels}, H, W)")
    for heading in (
        "norm",
        "averages over",
        "parameters",
        "images per statistic",
        "same in evaluation",
        "options",
    ):
        table.add_column(heading)
    for name, norm in NORMS.items():
        known = norm_options(name)
        try:
            check_norm(name, options.channels, True, {})
            layer = norm.build(options.channels, True)
            parameters = str(sum(p.numel() for p in layer.parameters()))
        except UsageError as error:
            parameters = str(error)
        scope = "its size" if "size" in known else scopes[norm.scope]
        shown = ", ".join(f"{key}={value}" for key, value in known.items() if key != "virtual_devices")
        table.add_row(name, norm.axes, parameters, scope, "yes" if norm.same_in_eval else "no", shown)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0
