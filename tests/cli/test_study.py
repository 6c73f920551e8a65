"""`normbench plan`, `run` and `status`."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from normbench.cli.live import watch
from normbench.store import RunFolder, Store
from normbench.store.folder import ERROR, LOCK, RESULT
from normbench.study import load_study, make_plan, possible_plans

from ..conftest import RunCli
from .conftest import Write


def test_planning_needs_no_torch(study: Write, tmp_path: Path) -> None:
    code = (
        "import sys; from normbench.cli.main import run_command\n"
        f"assert run_command(['plan', {str(study())!r}, '--runs', {str(tmp_path)!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_plan(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    rule = {"when": {"model.norm": "group"}, "reason": "not today"}
    path = study(grid={"model.norm": ["none", "batch", "group"], "data.batch_size": [8, 16]}, seeds=2, skip=[rule])
    said = run_cli("plan", path, "--runs", tmp_path, "--workers", 2)
    assert said.status == 0
    assert "small: Which norm?" in said.out
    for run in make_plan(load_study(path)).runs:
        assert re.search(rf"{run.id}  to do  norm {run.cell['model.norm']}, batch_size \d+, seed {run.seed}", said.out)
    assert "skipped           norm group, batch_size 8: not today" in said.out
    assert "8 runs (4 cells, 2 seeds), 2 cells skipped, 0 runs done, 8 to do: about" in said.out
    assert "with 2 workers (a rough figure: nothing of this study has run yet)" in said.out
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.yaml"], "a plan writes nothing"


@pytest.mark.slow
def test_a_smaller_study_of_the_same_file(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    path = study(grid={"model.norm": ["none", "batch", "layer"]}, seeds=3)
    words = ("--runs", tmp_path / "r", "--set", "budget.samples=500", "--seeds", 2, "--only", "model.norm=batch,layer")
    said = run_cli("plan", path, *words)
    assert said.status == 0
    assert "small-smoke: Which norm?" in said.out
    assert "4 runs (2 cells, 2 seeds)" in said.out
    assert run_cli("run", path, *words).status == 0
    assert "small-smoke: 4 done" in run_cli("status", path, *words).out
    assert "small: 9 waiting" in run_cli("status", path, "--runs", tmp_path / "r").out, "they never mix"
    for wrong, text in (
        (("--set", "budget.stepps=1"), "did you mean 'budget.steps'"),
        (("--set", "budget"), "write key=value"),
        (("--set", "model.norm=batch"), "use --only model.norm=..."),
        (("--set", "seed=4"), "chosen by --seeds"),
        (("--only", "batch"), "write axis=label,label"),
        (("--only", "model.norm=bach"), "did you mean 'batch'"),
        (("--seeds", "0"), "is not a whole number from 1"),
    ):
        answer = run_cli("plan", path, *wrong)
        assert answer.status == 2
        assert text in answer.err


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        (("size=2,048",), {"2,048"}),
        (("size=2,048", "size=a=b"), {"2,048", "a=b"}),
        (('size="2,048",64',), {"2,048", "64"}),
        (("size=64, a=b",), {"64", "a=b"}),
        (("size=",), {""}),
        (("size= x ",), {" x "}),
        (("size=64,,a=b",), {"64", "", "a=b"}),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("axis", ["size", "size=big"])
def test_only_takes_any_label_of_any_axis(
    run_cli: RunCli, study: Write, tmp_path: Path, only: tuple[str, ...], kept: set[str], axis: str
) -> None:
    levels = {label: {"data.batch_size": 8 + n} for n, label in enumerate(["2,048", 64, "a=b", "", " x ", "b"])}
    path = study(grid={axis: levels, "model.norm": ["none", "batch"]}, seeds=1)
    words = [word for text in only for word in ("--only", text.replace("size", axis, 1))]
    said = run_cli("plan", path, "--runs", tmp_path, *words)
    assert said.status == 0, said.err
    assert f"{2 * len(kept)} runs" in said.out
    for label in kept:
        assert f"  to do  {axis} {label}, norm batch" in said.out
    said = run_cli("plan", path, "--only", f"{axis}=2,047")
    assert "unknown label '2'" in said.error


@pytest.mark.slow
def test_run_trains_what_is_left_and_status_counts_it(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    path, words = study(), ("--runs", tmp_path / "runs", "--workers", 1)
    said = run_cli("run", path, *words)
    assert said.status == 0, said.err
    assert "small: 2 of 2 runs to train: about " in said.err
    runs = make_plan(load_study(path)).runs
    assert all(RunFolder(tmp_path / "runs" / run.id).state() == "done" for run in runs)
    assert "small: 2 done, 0 cells skipped" in run_cli("status", *(path, "--runs", tmp_path / "runs")).out
    assert run_cli("run", path, *words) == (0, "", "small: all 2 runs are done\n")
    planned = run_cli("plan", path, "--runs", tmp_path / "runs").out
    assert "2 runs done, 0 to do" in planned
    wider = study(name="wider", grid={"model.norm": ["none", "batch", "layer"]})
    assert "wider: 1 of 3 runs to train" in run_cli("run", wider, *words).err, "a cell of two studies is trained once"


def test_status_of_every_state(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    path, root = study(grid={"model.norm": ["none", "batch", "layer", "sync_batch"]}), tmp_path / "runs"
    runs = {run.cell["model.norm"]: root / run.id for run in make_plan(load_study(path)).runs}
    words = ("status", path, "--runs", root)
    assert "small: 4 waiting, 0 cells skipped" in run_cli(*words).out
    for norm in ("none", "batch", "layer"):
        runs[norm].mkdir(parents=True)
        (runs[norm] / LOCK).touch()
    (runs["none"] / RESULT).write_text("")
    (runs["batch"] / ERROR).write_text("Traceback\n  somewhere\nValueError: it is so\n")
    said = run_cli(*words)
    assert said.status == 0
    assert re.search(rf"broken      {runs['none'].name}  norm none, seed 0: .+\n", said.out)
    assert re.search(rf"failed      {runs['batch'].name}  norm batch, seed 0: ValueError: it is so\n", said.out)
    assert re.search(rf"interrupted {runs['layer'].name}  norm layer, seed 0\n", said.out)
    assert "small: 1 failed, 1 interrupted, 1 broken, 1 waiting, 0 cells skipped" in said.out
    with RunFolder(runs["layer"]).claim():
        assert "1 running" in run_cli(*words).out


@pytest.mark.slow
def test_a_result_that_cannot_count_is_named_set_aside_and_repeated(
    run_cli: RunCli, study: Write, tmp_path: Path
) -> None:
    path, root = study(), tmp_path / "runs"
    words = (path, "--runs", root)
    assert run_cli("run", *words, "--workers", 1).status == 0
    result = root / make_plan(load_study(path)).runs[0].id / RESULT
    whole = json.loads(result.read_text())
    for text in ('{"layout": 2}', '{"layout": 2, "met', "[]", "null", "{}", ""):
        result.write_text(text)
        assert "1 done, 1 broken" in run_cli("status", *words).out
        assert "1 run done, 1 to do" in run_cli("plan", *words).out
    report = run_cli("report", *words, "--reports", tmp_path / "reports")
    assert report.status == 0, report.err
    said = run_cli("run", *words, "--workers", 1)
    assert said.status == 0
    assert f"{result} " in said.err
    assert "kept as result.json.broken-1" in said.err
    assert json.loads(result.read_text())["metrics"] == whole["metrics"]


@pytest.mark.usefixtures("fresh_files")
def test_the_plan_finds_the_runs_of_a_fall_back_that_no_cache_could_note(
    run_cli: RunCli, study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NORMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    base = {"data": {"name": "mnist"}, "model": {"name": "mlp"}, "budget": {"steps": 4}}
    path, root = study(base=base), tmp_path / "runs"
    kept, fallen = (make_plan(load_study(path), fallback) for fallback in (False, True))
    words = (path, "--runs", root)
    assert kept.ids[0] in run_cli("plan", *words).out, "nobody has tried yet"
    Store(root).record("small", fallen.ids)
    for _ in range(2):
        for command in ("plan", "status"):
            said = run_cli(command, *words)
            assert "warning: mnist could not be had: these are runs on the embedded mnist_5k" in said.error
        assert all(run_id in run_cli("plan", *words).out for run_id in fallen.ids)
    RunFolder(root / fallen.ids[0]).write_error("ValueError: it is so")
    assert f"failed      {fallen.ids[0]}" in run_cli("status", *words).out
    Store(root).record("small", kept.ids)
    said = run_cli("plan", *words)
    assert (kept.ids[0] in said.out, said.err) == (True, "")


def test_a_study_of_two_data_sets_may_fall_back_with_one(study: Write) -> None:
    compare = {"factor": "data.name", "baseline": "mnist"}
    base = {"model": {"name": "mlp"}, "budget": {"steps": 4}}
    two = study(base=base, grid={"data.name": ["fashion_mnist", "mnist"]}, compare=compare)
    here, other = possible_plans(load_study(two))
    assert len(set(here.ids) & set(other.ids)) == 1


class _Terminal(Console):
    is_terminal = True


@pytest.mark.parametrize("state", ["failed", "interrupted", "broken", "done"])
def test_live_status_ends_when_nothing_runs_or_waits(
    study: Write, tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # An interrupted run may be taken up again, by a worker that starts: it is waited for, but not for ever.
    monkeypatch.setattr("normbench.cli.live.IDLE_SECONDS", 0.05)
    plan = make_plan(load_study(study(grid={"model.norm": ["batch"]})))
    folder = tmp_path / plan.runs[0].id
    folder.mkdir()
    (folder / LOCK).touch()
    if state in {"failed", "broken"}:
        (folder / (ERROR if state == "failed" else RESULT)).write_text("x")
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        assert len(naps) < 100, "it does not end"

    monkeypatch.setattr("normbench.cli.live.time.sleep", nap)
    store = Store(tmp_path)
    if state == "done":
        store.states = lambda ids: dict.fromkeys(ids, "done")  # type: ignore[method-assign,assignment,misc]
    watch(plan, store, _Terminal(width=80, force_terminal=True), 0.01)
    assert len(naps) == (5 if state == "interrupted" else 0)
    assert f"1 {state}" in capsys.readouterr().out


def test_ctrl_c_ends_live_status_as_every_command(
    study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("normbench.cli.live.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):  # which the command line turns into status 130
        watch(make_plan(load_study(study())), Store(tmp_path), _Terminal(width=80, force_terminal=True))


# What is wrong is said in one line.

WRONG_STUDY: list[tuple[dict[str, Any], str]] = [
    ({"grid": {}}, r"'grid' is missing or empty"),
    ({"grid": {"model.norm": []}}, r"grid\.model\.norm has no values: give a list"),
    ({"grid": {"model.norm": ["batch", "batch"]}}, r"grid\.model\.norm has 'batch' twice: keep one"),
    ({"grid": {"model.nrom": ["batch"]}}, r"unknown configuration key 'model\.nrom': did you mean 'model\.norm'\?"),
    (
        {"grid": {"model.norm": ["batch", "bacth"]}},
        r"cell model\.norm=bacth: model\.norm: unknown norm 'bacth': did you mean 'batch'",
    ),
    (
        {"grid": {"model.norm": ["batch", "instance"]}},
        r"cell model\.norm=instance: .*or leave the cell out with a skip",
    ),
    ({"base": {"data": {"batch_size": 4_000, "name": "mnist_5k"}}}, r"batch_size=4000 is larger than"),
    ({"compare": {"factor": "model.norm", "baseline": "batch", "metric": "test_acc"}}, r"did you mean 'test_accuracy'"),
    ({"compare": {"factor": "norm", "baseline": "batch"}}, r"compare\.factor: unknown axis 'norm'"),
]


@pytest.mark.parametrize("command", ["plan", "run", "status"])
@pytest.mark.parametrize(("changes", "said"), WRONG_STUDY)
def test_a_wrong_study_is_one_line_and_status_2(
    run_cli: RunCli, study: Write, tmp_path: Path, command: str, changes: dict[str, Any], said: str
) -> None:
    answer = run_cli(command, study(**changes), "--runs", tmp_path / "runs")
    assert answer.status == 2
    assert re.match(rf"normbench: error: {tmp_path}/study\.yaml: .*{said}", answer.error), answer.error


def test_a_duplicate_axis_is_named_with_its_line(run_cli: RunCli, study: Write) -> None:
    path = study()
    path.write_text(path.read_text().replace("grid:\n", "grid:\n  model.norm: [layer]\n"))
    answer = run_cli("plan", path)
    assert answer.status == 2
    assert re.search(r"study\.yaml, line \d+: 'model\.norm' is given twice: keep one", answer.error)


def test_an_unknown_study_is_named(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "batch_size.yaml").touch()
    monkeypatch.chdir(tmp_path)
    answer = run_cli("run", "batchsize")
    assert answer.status == 2
    assert "unknown study 'batchsize': did you mean 'batch_size'? known: batch_size" in answer.error
    answer = run_cli("run", "nowhere/x.yaml")
    assert answer.status == 2
    assert "no study at nowhere/x.yaml: check the path" in answer.error


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_said_before_anything_is_trained(
    run_cli: RunCli, study: Write, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normbench.cli.devices.visible_gpus", lambda: [])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    path = study(base={"data": {"name": "mnist_5k"}, "budget": {"steps": 4}, "trainer": {"accelerator": kind}})
    assert run_cli("plan", path).status == 0, "another machine may have it"
    words = ["train", "--data.name=mnist_5k", f"--trainer.accelerator={kind}", f"--runs={tmp_path / 'r'}"]
    for answer in (run_cli("run", path, "--runs", tmp_path / "r"), run_cli(*words)):
        assert answer.status == 2
        assert f"trainer.accelerator={kind}: this machine has no GPU" in answer.error
    assert not list((tmp_path / "r").glob("*/config.yaml"))


LOOKS = {"looks": [2, 3], "spend": [0.5, 0.5]}


def test_plan_tells_the_looks_and_the_longest_case(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    path = study(seeds={**LOOKS, "budget": "30m"})
    said = run_cli("plan", path, "--runs", tmp_path / "runs")
    assert said.status == 0
    assert "6 runs (2 cells, 3 seeds)" in said.out
    assert "look 1: 2 seeds of all cells, at 50% of the level; at most 4 runs, " in said.out
    assert "look 2: 3 seeds of cells whose contrasts are open, at 50% of the level; at most 6 runs, " in said.out
    assert "a look after the first that would take the training beyond 30 min in all is not begun" in said.out
    assert "0 of 2 looks made; above is the longest case" in said.out
    assert "small: 0 of 2 looks made; 4 waiting" in run_cli("status", path, "--runs", tmp_path / "runs").out


@pytest.mark.slow
def test_run_goes_from_look_to_look_and_stops_at_the_budget(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    words = ("--runs", tmp_path / "runs", "--workers", 1)
    said = run_cli("run", study(seeds={**LOOKS, "budget": "0.01s"}), *words)
    assert said.status == 0, said.err
    assert "look 1 of 2: 4 of 4 runs to train: " in said.err
    assert "1 of 2 looks made; interim: 1 contrasts are open" in said.err
    path = study(seeds=LOOKS)
    said = run_cli("run", path, *words)
    assert said.status == 0, said.err
    assert "look 2 of 2: 2 of 6 runs to train" in said.err
    assert "2 of 2 looks made" in said.err.splitlines()[-1]
    assert "small: 2 of 2 looks made; 6 done" in run_cli("status", path, "--runs", tmp_path / "runs").out


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({"looks": [3, 5]}, r"seeds\.spend is a list of shares of the level"),
        ({"looks": [5, 3], "spend": [0.5, 0.5]}, r"seeds\.looks=\[5, 3\]: give growing numbers"),
        ({"looks": [3, 5], "spend": [0.5]}, r"seeds\.spend has 1 shares for 2 looks"),
        ({"looks": [3, 5], "spend": [0.5, 0.6]}, r"shares above 0 that sum to 1, not 1\.1"),
        ({**LOOKS, "stop": "decide"}, r"unknown way to stop 'decide': did you mean 'decided'"),
        ({**LOOKS, "budget": "30 minutes"}, r"seeds\.budget=30 minutes: give a time such as 30m"),
        ({**LOOKS, "lokos": 1}, r"unknown key of seeds 'lokos': did you mean 'looks'"),
    ],
)
def test_what_looks_cannot_mean(run_cli: RunCli, study: Write, seeds: dict[str, Any], said: str) -> None:
    answer = run_cli("plan", study(seeds=seeds))
    assert answer.status == 2
    assert re.search(said, answer.error), answer.error


@pytest.mark.parametrize("words", [["status"], ["status", "--live"], ["tables", "--reports", "REPORTS"], ["probes"]])
def test_a_runs_folder_that_is_not_there_is_said(
    run_cli: RunCli, study: Write, tmp_path: Path, words: list[str]
) -> None:
    """`report STUDY --runs TYPO` wrote a report of nothing over the one that was there, without a word."""
    command, *more = (str(tmp_path / "reports") if word == "REPORTS" else word for word in words)
    answer = run_cli(command, study(), *more, "--runs", tmp_path / "typo")
    assert answer.err.splitlines()[0] == f"warning: --runs: there is no folder {tmp_path}/typo: no run of it is known"
    (tmp_path / "typo").mkdir()
    assert "there is no folder" not in run_cli(command, study(), *more, "--runs", tmp_path / "typo").err
