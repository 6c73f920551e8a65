"""Runs logged elsewhere join the results table, exactly; what others wrote is not taken on trust."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from normbench.spec import from_dict, resolve, run_config, run_id, yaml_text
from normbench.spec.registry import NORMS
from normbench.store import Store, layout1
from normbench.store.folder import CONFIG, METRICS, RESULT
from normbench.study import load_study, make_plan
from normbench.tracking.pull import pull
from normbench.tracking.push import push
from tests.conftest import RunCli
from tests.store.test_move import old_config
from tests.tracking.conftest import CURVES, KEY, SMALL, made_up, read_result, small, study_tree
from tests.tracking.fake_server import FakeWandb

WHERE = "team/normbench"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two norms, one of which diverges, and two seeds."""
    path = tmp_path / "far.yaml"
    path.write_text(yaml_text(study_tree()))
    return path


@pytest.fixture
def here(study: Path, tmp_path: Path) -> Store:
    """Its runs, as if they had been trained."""
    store = Store(tmp_path / "here")
    plan = make_plan(load_study(study))
    for run in plan.runs:
        nothing = {"test_accuracy": None, "val_accuracy": None, "train_loss": None}
        mad = {"metrics": nothing, "diverged_at_step": 4, "samples_per_second": None}
        made_up(store, run.config, **(mad if run.cell["case"] == "mad" else {}))
    store.record("far", plan.ids)
    return store


def test_push_and_pull_give_the_same_folders_and_table(
    fake: FakeWandb, study: Path, here: Store, tmp_path: Path, run_cli: RunCli
) -> None:
    said = run_cli("wandb", "push", study, "--runs", here.root)
    assert (said.status, said.out.splitlines()[-1]) == (0, "4 sent"), said.err
    assert KEY not in said.out + said.err
    labels = {run.plain_config["axes"]["far"]["case"] for run in fake.runs.values()}
    assert labels == {"sane", "mad"}  # a grouped axis is found under its labels
    before = {run_id: run.rows for run_id, run in fake.runs.items()}
    assert run_cli("wandb", "push", "far", "--runs", here.root).status == 0  # the recorded name does as well
    assert {run_id: run.rows for run_id, run in fake.runs.items()} == before

    there = Store(tmp_path / "there")
    command = ("wandb", "pull", WHERE, "--study", "far", "--runs", there.root)
    said = run_cli(*command)
    assert said.status == 0, said.err
    assert said.out.splitlines()[-1] == "4 written"
    assert run_cli(*command).out.splitlines()[-1] == "4 here already"
    assert there.ids_of("far") == here.ids_of("far")
    for name in here.ids_of("far"):
        ours, theirs = here.folder(name), there.folder(name)
        for file in (METRICS, CONFIG):
            assert (theirs.path / file).read_bytes() == (ours.path / file).read_bytes(), file
        assert json.dumps(read_result(theirs), sort_keys=True) == json.dumps(read_result(ours), sort_keys=True)
    cells = {run.id: run.cell for run in make_plan(load_study(study)).runs}
    assert there.table(cells, "far").to_csv(index=False) == here.table(cells, "far").to_csv(index=False)


def summary_of(run: Any, **changes: Any) -> dict[str, Any]:
    """What W&B shows of a finished run, from a store of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_result(made_up(Store(folder), run)) | changes


def logged(fake: FakeWandb, wandb_id: str, summary: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> None:
    """A run at W&B that another program has sent."""
    run = fake.run(wandb_id)
    run.fields |= {"project": "normbench", "groupName": "far", "tags": ["study:far"]}
    run.summary = summary
    run.history = dict(enumerate(rows or []))


def pulled(store: Store, *plugins: str) -> dict[str, tuple[str, str]]:
    return {said.run_id: (said.state, said.note) for said in pull(WHERE, "far", store, plugins)}


@pytest.mark.parametrize("wandb_id", ["../../evil", "..", "0123456789ABCDEF", "0123456789abcde/"])
def test_an_id_that_is_none_makes_no_folder(wandb_id: str, fake: FakeWandb, store: Store) -> None:
    logged(fake, wandb_id, summary_of(small(), run_id=wandb_id))
    ((state, note),) = pulled(store).values()
    assert (state, note) == ("left", "it is not a run of normbench that ended")
    assert not store.root.exists()


def test_a_configuration_of_another_run_is_named(fake: FakeWandb, store: Store) -> None:
    other, own = small(seed=1), run_id(small())
    logged(fake, own, summary_of(other, run_id=own))
    assert pulled(store) == {own: ("left", f"its configuration is that of run {run_id(other)}")}
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"config": {"model": {"nome": "x"}}}, "unknown configuration key 'model.nome'"),
        ({"config": {"model": {"name": "evil; rm -rf"}}}, "unknown model"),
        ({"config": "x"}, "its result has layout 2"),
        ({"layout": 7}, "its result has layout 7, this version reads 2"),
        ({"run_id": "another"}, "it is not a run of normbench that ended"),
        ({"metrics": [1]}, "not what normbench sends"),
        ({"steps": "many"}, "has no usable steps"),
    ],
)
def test_what_is_not_ours_is_named_and_left_out(
    changes: dict[str, Any], says: str, fake: FakeWandb, store: Store
) -> None:
    good = small(seed=2)
    logged(fake, run_id(small()), summary_of(small(), **changes))
    logged(fake, run_id(good), summary_of(good))
    said = pulled(store)
    assert said[run_id(good)][0] == "finished"  # one bad run does not keep the others
    state, note = said[run_id(small())]
    assert state == "left"
    assert says in note
    assert not (store.root / run_id(small()) / RESULT).exists()
    assert store.ids_of("far") == {run_id(good)}


def test_rows_are_numbers_or_nothing(fake: FakeWandb, store: Store) -> None:
    at = {"_step": 0, "step": 4, "samples": 128, "epoch": 0.25, "seconds": 0.01}
    config = small()
    hostile = [{**at, "train/loss": "2\r\n9,9,9,9,test,accuracy,1"}]
    logged(fake, run_id(config), summary_of(config), hostile)
    assert pulled(store)[run_id(config)][0] == "left"
    odd = [{**at, "train/loss": 2.25, "test/a\r\nb": 1.0, "evil/loss": 1.0, "train/": 1.0}]
    fake.runs[run_id(config)].history = dict(enumerate(odd))
    assert pulled(store)[run_id(config)][0] == "finished"
    assert store.folder(run_id(config)).metrics_path.read_text().splitlines() == CURVES.splitlines()[:2]


PLUGIN = '''
from torch import nn
from normbench import register_norm

@register_norm("pulled_norm")
class PulledNorm(nn.Module):
    """Does nothing."""

    def __init__(self, num_channels):
        super().__init__()

    def forward(self, x):
        return x
'''


def test_a_plugin_is_the_studys_own_or_none(fake: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pulled_norm.py"
    path.write_text(PLUGIN)
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    config = resolve(run_config({**SMALL, "model.norm": "pulled_norm", "plugins": [str(path)]}))
    folder = made_up(here, config)
    here.record("far", [folder.id])
    assert [said.state for said in push(here, "far")] == ["finished"]
    sent = "its plug-in pulled_norm.py is not among those of the study: name the study's file"
    monkeypatch.chdir(tmp_path)  # a file of that name in the folder is not run because W&B says so
    assert pulled(there) == {folder.id: ("left", sent)}
    assert pulled(there, str(path)) == {folder.id: ("finished", "")}
    assert there.folder(folder.id).config()["plugins"] == [str(path)]
    for known in (NORMS._entries, sys.modules):
        for name in [name for name in known if "pulled_norm" in name]:
            monkeypatch.delitem(known, name)


def test_the_report_run_is_none_of_them(fake: FakeWandb, store: Store) -> None:
    logged(fake, "far-report", {})
    fake.runs["far-report"].fields["jobType"] = "report"
    assert pulled(store) == {}


def test_a_run_of_version_0_1_becomes_one_of_today(fake: FakeWandb, store: Store) -> None:
    """As W&B shows it: in a group and without a tag, whole numbers for 1.0, nothing for what is empty."""
    config = old_config(optimizer__lr=1.0, logger={})
    was = layout1.run_id(config)
    del config["model"]["options"]
    config["optimizer"]["lr"] = 1
    logged(fake, was, summary_of(small()) | {"layout": 1, "run_id": was, "config": config})
    del fake.runs[was].fields["tags"]
    ((new, (state, note)),) = pulled(store).items()
    assert (state, note) == ("finished", "")
    assert new != was
    result = store.folder(new).result()
    assert result is not None
    assert result["config"]["optimizer"]["lr"] == 1.0
    assert result["migrated_from"] == {"layout": 1, "study": "far", "run_id": was}
    assert run_id(resolve(from_dict(result["config"]))) == new
    assert pulled(store) == {new: ("present", "")}


def test_a_run_of_version_0_1_that_cannot_be_believed_is_named(fake: FakeWandb, store: Store) -> None:
    config = {
        section: dict(values) if isinstance(values, dict) else values
        for section, values in summary_of(small())["config"].items()
    }
    config["model"] |= {"channels": [8], "options": {}}
    summary = summary_of(small()) | {"layout": 1, "config": config}
    logged(fake, summary["run_id"], summary)
    state, note = pulled(store)[summary["run_id"]]
    assert state == "left"
    assert note == f"its configuration is that of run {layout1.run_id(config)} of version 0.1"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("pull", "normbench", "--study", "far"), 2, "is not ENTITY/PROJECT"),
        (("pull", WHERE, "--study", "../x"), 2, "is neither a study nor the name of one"),
        (("pull", WHERE, "--study", "far"), 1, "no API key"),
        (("push", "nowhere"), 2, "unknown study 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: tuple[str, ...], status: int, says: str, run_cli: RunCli, tmp_path: Path
) -> None:
    said = run_cli("wandb", *arguments, "--runs", tmp_path / "runs")
    assert said.status == status
    assert says in said.error
