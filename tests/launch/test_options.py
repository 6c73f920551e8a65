"""Which launcher trains a study, and with which options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.launch.launcher import LAUNCHERS, Task
from normbench.launch.needs import needed
from normbench.launch.options import VARIABLE, chosen
from normbench.launch.slurm import SlurmLauncher
from normbench.study import Study, load_study, make_plan

from ..cli.conftest import Write, study  # noqa: F401  (a fixture)
from ..conftest import RunCli


@pytest.fixture
def written(study: Write) -> Study:  # noqa: F811
    return load_study(study(launch={"local": {"workers": 2}, "slurm": {"partition": "main", "pack": 4}}))


def test_the_command_line_is_stronger_than_the_machine_and_that_than_the_study(written: Study, tmp_path: Path) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text("launcher: slurm\nlaunch: {slurm: {partition: big, minutes: 5}}\n")
    assert str(chosen(written)) == "local (workers=2)"
    assert str(chosen(written, given={"workers": 3})) == "local (workers=3)"
    assert str(chosen(written, "ray")) == "ray"
    assert str(chosen(written, machine=machine)) == "slurm (partition=big, pack=4, minutes=5)"
    assert str(chosen(written, "local", machine=machine)) == "local (workers=2)"
    assert chosen(written, "slurm", {"pack": 2}, machine).options == {"partition": "big", "pack": 2, "minutes": 5}


def test_the_environment_names_a_machine(written: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.yaml").write_text("launcher: ray\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "m.yaml"))
    assert chosen(written).name == "ray"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="no machine's file at"):
        chosen(written)


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        (
            {"slurm": {"partitoin": "x"}},
            "launch.slurm.partitoin: .*did you mean 'partition'",
        ),
        ({"slurn": {}}, "launch: unknown launcher 'slurn': did you mean 'slurm'"),
        ({"ray": 3}, "launch.ray is a mapping of options to values, not 3"),
        ({"slurm": {"pack": 0}}, "launch.slurm.pack"),
    ],
)
def test_mistakes_are_named_whatever_launcher_is_chosen(written: Study, launch: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chosen(replace(written, launch=launch))


def test_where_runs_run_is_no_part_of_what_they_are(study: Write, run_cli: RunCli) -> None:  # noqa: F811
    plain = make_plan(load_study(study()), fallback=False).ids
    path = study(launch={"slurm": {"partition": "main"}})
    assert make_plan(load_study(path), fallback=False).ids == plain
    said = run_cli("plan", path, "--launcher", "slurm", "--launch", "account=me")
    assert said.status == 0
    assert "launcher slurm (partition=main, account=me)" in said.out
    assert "launcher" not in run_cli("plan", path).out


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(UsageError, match=r"launcher ray: no_engine is not installed: pip install 'normbench\[ray\]'"):
        needed("no_engine", "ray")


@pytest.mark.parametrize("name", list(LAUNCHERS))
def test_every_option_of_a_launcher_is_explained(name: str) -> None:
    entry = LAUNCHERS.get(name)
    assert entry.options
    assert [option.name for option in entry.options.values() if not option.help] == []


def needs(index: int, **wanted: Any) -> Task:
    return Task(f"{index:016x}", {}, Path(str(index)), **wanted)


def test_jobs_of_slurm_have_runs_of_one_kind_and_ask_for_what_these_need() -> None:
    tasks = [
        *(needs(index) for index in range(5)),
        needs(5, devices=2, threads=2),
        *(needs(index, nodes=2) for index in (6, 7)),
        *(needs(index, gpu=True) for index in (8, 9)),
        *(needs(index, gpu=True, gpu_share=0.5) for index in (10, 11, 12)),
    ]
    launcher = SlurmLauncher(pack=4)
    jobs = launcher.packed(tasks)
    assert [len(job) for job in jobs] == [4, 1, 1, 1, 1, 2, 3]
    assert sorted(task.run_id for job in jobs for task in job) == sorted(task.run_id for task in tasks)
    assert [launcher.cores(job) for job in jobs] == [1, 1, 4, 1, 1, 1, 1]
    assert [launcher.devices(job) for job in jobs] == [0, 0, 0, 0, 0, 1, 1]
    assert SlurmLauncher(pack=4, cpus=8, gpus=2).cores(jobs[2]) == 8
    assert launcher.at_once(tasks) == 8, "two of the last three share their GPU"
    assert SlurmLauncher(pack=4, cpus=4, gpus=2, workers=2).at_once(tasks) == 4 + 3
