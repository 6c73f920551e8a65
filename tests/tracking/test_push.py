"""Run folders to W&B: found under every study that uses them, whatever was sent before and in which order."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from normbench.errors import NormbenchError
from normbench.store import Store
from normbench.tracking.points import Follower
from normbench.tracking.push import push
from normbench.tracking.session import Session
from tests.tracking.conftest import expected_rows, made_up, read_result, small, without_empty
from tests.tracking.fake_server import FakeWandb
from tests.tracking.offline import offline_folders


def synced(root: Path) -> None:
    """`wandb sync` of all offline folders below `root`."""
    for folder in offline_folders(root):
        command = [sys.executable, "-m", "wandb", "sync", str(folder)]
        subprocess.run(command, check=True, timeout=60, capture_output=True, cwd=root)


def studies_of(fake: FakeWandb, run_id: str) -> list[str]:
    return [tag for tag in fake.runs[run_id].fields["tags"] if tag.startswith("study:")]


def test_a_run_of_two_studies_is_one_run_found_under_each(fake: FakeWandb, store: Store) -> None:
    shared, own = made_up(store, small()), made_up(store, small(seed=1))
    wide, narrow = {shared.id: {"case": "wide", "seed": 0}, own.id: {"case": "odd"}}, {shared.id: {"case": "narrow"}}
    store.record("wide", wide)
    assert [pushed.state for pushed in push(store, "wide", wide)] == ["finished", "finished"]
    assert studies_of(fake, shared.id) == ["study:wide"]
    assert fake.runs[shared.id].plain_config["axes"] == {"wide": {"case": "wide", "seed": 0}}
    rows = fake.runs[shared.id].rows

    store.record("narrow", narrow)
    assert [pushed.state for pushed in push(store, "narrow", narrow)] == ["finished"]
    assert set(fake.runs) == {shared.id, own.id}
    assert studies_of(fake, shared.id) == ["study:narrow", "study:wide"]
    assert studies_of(fake, own.id) == ["study:wide"]
    run = fake.runs[shared.id]
    assert run.plain_config["axes"] == {"wide": {"case": "wide", "seed": 0}, "narrow": {"case": "narrow"}}
    assert run.plain_config["model"]["norm"] == "layer"
    assert run.rows == rows == expected_rows(shared)


def test_a_study_of_another_machine_keeps_its_tag_and_labels(fake: FakeWandb, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    folder = made_up(there, small())
    there.record("theirs", [folder.id])
    list(push(there, "theirs", {folder.id: {"size": 1}}))
    made_up(here, small())
    here.record("ours", [folder.id])
    list(push(here, "ours", {folder.id: {"size": "small"}}))
    assert studies_of(fake, folder.id) == ["study:ours", "study:theirs"]
    assert fake.runs[folder.id].plain_config["axes"] == {"theirs": {"size": 1}, "ours": {"size": "small"}}


def test_pushing_twice_changes_nothing(fake: FakeWandb, store: Store) -> None:
    folder = made_up(store, small())
    store.record("mine", [folder.id])
    for _ in range(2):
        assert [pushed.state for pushed in push(store, "mine", {folder.id: {"case": "x"}})] == ["finished"]
        run = fake.runs[folder.id]
        assert run.rows == expected_rows(folder)
        assert run.plain_summary == read_result(folder)
        assert run.plain_config == without_empty(read_result(folder)["config"]) | {"axes": {"mine": {"case": "x"}}}
        assert run.exitcode == 0
        assert run.fields["tags"] == ["layer", "mlp", "mnist_5k", "study:mine"]


@pytest.mark.parametrize("first", ["push", "sync"])
def test_push_and_sync_of_old_offline_folders_leave_one_run_each(
    first: str, start_fake: Callable[..., FakeWandb], store: Store
) -> None:
    folders = [made_up(store, small(seed=seed)) for seed in (0, 1)]
    store.record("mine", [folder.id for folder in folders])
    cells = {folder.id: {"case": number} for number, folder in enumerate(folders)}
    for folder in folders:
        session = Session(small(seed=folders.index(folder)), folder.path, "offline", {"mine": cells[folder.id]})
        session.log(Follower(folder.metrics_path).read())
        session.close(folder.result())
    fake = start_fake()
    for step in ("push", "sync", "push") if first == "push" else ("sync", "push", "sync"):
        if step == "push":
            assert [pushed.state for pushed in push(store, "mine", cells)] == ["finished", "finished"]
        else:
            synced(store.root)
        assert set(fake.runs) == {folder.id for folder in folders}
        for folder in folders:
            run = fake.runs[folder.id]
            assert run.rows == expected_rows(folder), step
            assert run.plain_summary == read_result(folder)
            assert run.plain_config == without_empty(read_result(folder)["config"]) | {
                "axes": {"mine": cells[folder.id]}
            }
            assert run.fields["tags"] == ["layer", "mlp", "mnist_5k", "study:mine"]
            assert run.fields["groupName"] == "mine"


def test_a_run_without_a_result_and_one_that_is_being_trained(fake: FakeWandb, store: Store) -> None:
    unfinished, running = made_up(store, small(), finished=False), made_up(store, small(seed=1), finished=False)
    store.record("mine", [unfinished.id, running.id, "0123456789abcdef"])  # the last one has not begun
    with running.claim():
        said = {pushed.run_id: pushed.state for pushed in push(store, "mine")}
    assert said == {unfinished.id: "unfinished", running.id: "running"}
    assert list(fake.runs) == [unfinished.id]
    assert fake.runs[unfinished.id].exitcode == 1


def test_a_folder_that_is_not_its_run_is_named_and_not_sent(fake: FakeWandb, store: Store) -> None:
    good, bad = made_up(store, small()), made_up(store, small(seed=1))
    bad.write_config(good.config())
    store.record("mine", [good.id, bad.id])
    said = {pushed.run_id: pushed for pushed in push(store, "mine")}
    assert said[good.id].state == "finished"
    assert said[bad.id].state == "failed"
    assert f"its config.yaml is that of run {good.id}" in said[bad.id].note
    assert list(fake.runs) == [good.id]


def test_nothing_of_the_study_is_here(store: Store) -> None:
    with pytest.raises(NormbenchError, match="nothing of this study has run here"):
        list(push(store, "mine"))
