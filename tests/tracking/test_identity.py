"""What W&B files a run under, whatever the environment says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from normbench.spec import LoggerConfig, run_id
from normbench.store import Store
from normbench.tracking import identity
from normbench.tracking.client import own_environment
from normbench.tracking.push import push
from tests.tracking.conftest import expected_rows, forget_wandb, made_up, small
from tests.tracking.fake_server import FakeWandb
from tests.tracking.offline import offline_runs

# What a shell inside a sweep, a notebook or a scheduler may have set.
FOREIGN = {
    "WANDB_SWEEP_ID": "zzzz9999",
    "WANDB_RUN_ID": "abcd1234",
    "WANDB_RUN_GROUP": "others",
    "WANDB_NAME": "theirs",
    "WANDB_NOTES": "theirs",
    "WANDB_RESUME": "must",
    "WANDB_TAGS": "x,y",
    "WANDB_JOB_TYPE": "sweep",
    "WANDB_HOST": "their-host",
    "WANDB_USERNAME": "ada",
    "WANDB_USER_EMAIL": "ada@example.org",
    "WANDB_DIR": "/nowhere",
    "WANDB_LAUNCH": "true",
    "WANDB_CONSOLE": "wrap",
    "WANDB_SAVE_CODE": "true",
}


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell with all of them."""
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    forget_wandb()


@pytest.mark.usefixtures("foreign")
def test_offline_runs_keep_their_own_ids(tmp_path: Path) -> None:
    from normbench.tracking.session import Session

    configs = [small(seed=seed) for seed in (0, 1)]
    for config in configs:
        folder = tmp_path / "runs" / run_id(config)
        folder.mkdir(parents=True)
        Session(config, folder, "offline").close(None)
    found = offline_runs(tmp_path)
    assert {run.run_id for run in found} == {run_id(config) for config in configs}
    for run in found:
        assert (run.project, run.entity, run.run_group, run.sweep_id) == ("normbench", "", "", "")
        assert (run.job_type, run.notes, run.host) == ("layer", "", "")
        assert run.display_name == f"layer mlp batch 32 seed {[run_id(c) for c in configs].index(run.run_id)}"
        assert list(run.tags) == ["layer", "mlp", "mnist_5k"]


@pytest.mark.usefixtures("foreign")
def test_pushed_runs_keep_their_own_ids(fake: FakeWandb, store: Store) -> None:
    folders = [made_up(store, small(seed=seed)) for seed in (0, 1)]
    store.record("mine", [folder.id for folder in folders])
    assert [pushed.state for pushed in push(store, "mine")] == ["finished", "finished"]
    assert set(fake.runs) == {folder.id for folder in folders}
    for folder in folders:
        run = fake.runs[folder.id]
        assert run.rows == expected_rows(folder)
        assert (run.fields["project"], run.fields["groupName"], run.fields["jobType"]) == ("normbench", "mine", "layer")
        assert run.fields["tags"] == ["layer", "mlp", "mnist_5k", "study:mine"]
        assert "sweep" not in run.fields
        assert "notes" not in run.fields


@pytest.mark.usefixtures("foreign")
def test_a_program_that_had_wandb_set_up_before_is_no_sweep_of_ours(fake: FakeWandb, store: Store) -> None:
    import wandb

    wandb.setup()  # it reads the environment now, and only now
    assert wandb.setup().settings.sweep_id == "zzzz9999"
    folder = made_up(store, small())
    store.record("mine", [folder.id])
    assert [pushed.state for pushed in push(store, "mine")] == ["finished"]
    assert set(fake.runs) == {folder.id}


@pytest.mark.usefixtures("foreign")
def test_the_environment_is_hidden_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before = dict(os.environ)
    with own_environment():
        assert not FOREIGN.keys() & os.environ.keys()
        assert os.environ["WANDB_BASE_URL"] == before["WANDB_BASE_URL"]
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("configured", "variable", "asked", "taken"),
    [
        (None, None, None, "normbench"),
        (None, "team", None, "team"),
        (None, " ", None, "normbench"),
        ("mine", "team", None, "mine"),
        ("mine", "team", "this", "this"),
        (None, "team", "this", "this"),
    ],
)
def test_the_variable_counts_where_the_configuration_names_none(
    configured: str | None, variable: str | None, asked: str | None, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
        monkeypatch.setenv("WANDB_ENTITY", variable)
    logger = LoggerConfig(project=configured, entity=configured)
    assert identity.project_of(logger, asked) == taken
    assert identity.entity_of(logger, asked) == (None if taken == "normbench" else taken)


def test_wandb_project_reaches_the_server_and_the_offline_file(
    start_fake: Callable[..., FakeWandb], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normbench.tracking.session import Session

    monkeypatch.setenv("WANDB_PROJECT", "crew")
    config = small()
    folder = made_up(store, config)
    Session(config, folder.path, "offline").close(None)
    assert [run.project for run in offline_runs(store.root)] == ["crew"]
    fake = start_fake()
    store.record("mine", [folder.id])
    list(push(store, "mine"))
    assert fake.runs[folder.id].fields["project"] == "crew"


def test_tags_of_long_names_are_short_and_different() -> None:
    names = [f"a_rather_long_name_of_a_study_{'x' * 50}_{number}" for number in range(3)]
    tags = {identity.study_tag(name) for name in names}
    assert len(tags) == 3
    assert max(map(len, tags)) <= identity.LONGEST_TAG
    assert identity.study_tag("founding-text") == "study:founding-text"


def test_axes_of_any_name_are_keys_of_their_own() -> None:
    assert identity.axis_names(["model.norm", "model_norm", "groups", "größe ½.a"]) == {
        "model.norm": "model_norm",
        "model_norm": f"model_norm_{identity._digest('model_norm')}",
        "groups": "groups",
        "größe ½.a": "größe ½_a",
    }


def test_labels_of_two_studies_stand_side_by_side() -> None:
    places = {"one": {"case": "small", "n": 3, "pair": (1, 2)}, "two": {"case": "narrow"}, "three": {}}
    assert identity.axis_config(places) == {
        "one": {"case": "small", "n": 3, "pair": "(1, 2)"},
        "two": {"case": "narrow"},
    }


def test_planning_imports_no_wandb() -> None:
    """What a plan, a train without W&B and the tables need of this room."""
    import subprocess

    code = (
        "import sys\n"
        "from normbench import privacy\nfrom normbench.tracking import commands, identity, mode, points\n"
        "assert 'wandb' not in sys.modules and 'torch' not in sys.modules, 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
