"""Results of version 0.1 move into the shared store, or stay and say why; none is lost and none trained anew."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.store import Store, layout1
from normbench.store.folder import METRICS, RESULT
from normbench.store.move import Move, moved, old_folders, waiting_line

from .conftest import run_name, run_result

# A resolved configuration as version 0.1 wrote it into result.json, and the id that it gave it.
OLD: dict[str, Any] = json.loads("""{
  "data": {"name": "mnist", "batch_size": 32, "train_samples": null, "dir": null, "allow_embedded": true},
  "model": {"name": "mlp", "norm": "batch", "norm_options": {"eps": 1e-05, "momentum": 0.1},
    "channels": null, "kernel_size": null, "padding": null, "stride": null, "pool": null, "hidden": [64],
    "dropout": 0.0, "activation": "relu", "norm_position": "before", "norm_linear": true, "norm_logits": false,
    "bias": "auto", "options": {}},
  "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0, "lr_scaling": "none",
    "reference_batch": 32, "schedule": "constant", "warmup_steps": 0, "step_every": 0.34, "step_factor": 0.1},
  "budget": {"epochs": null, "steps": 20, "samples": null},
  "trainer": {"accelerator": "auto", "devices": 1, "num_nodes": 1, "virtual_devices": 1, "precision": "32-true",
    "deterministic": true, "gradient_clip_val": null, "gradient_clip_algorithm": "norm",
    "accumulate_grad_batches": 1, "channels_last": true, "threads": 1, "validations": 5, "loss_points": 50,
    "checkpoints": 10, "fast_dev_run": 0, "overfit_batches": 0},
  "seed": 3,
  "plugins": [],
  "logger": {"wandb": "auto", "project": "normbench", "entity": null, "tags": [], "x_axis": "samples",
    "histograms": 0, "confusion_matrix": false, "filters": false, "misclassified": 0, "system": false,
    "finish_seconds": 60.0}
}""")
OLD_ID = "097e4216949d7c68"


def old_config(**changes: Any) -> dict[str, Any]:
    """OLD with dotted keys replaced, dots written as two underscores."""
    tree = json.loads(json.dumps(OLD))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            tree[section][name] = value
        else:
            tree[section] = value
    return tree


def write_old(root: Path, study: str = "width", device: str = "cpu", **changes: Any) -> Path:
    """A finished run folder of version 0.1."""
    config = old_config(**changes)
    run_id = layout1.run_id(config)
    folder = root / study / run_id
    folder.mkdir(parents=True)
    result = {"layout": 1, **run_result(run_id, seed=config["seed"])} | {"layout": 1, "config": config}
    result |= {"environment": {"git_commit": "c0ffee", "device": device}}
    del result["code_digest"], result["values_per_statistic"]
    (folder / RESULT).write_text(json.dumps(result, indent=2))
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / METRICS).write_text("step,samples,epoch,seconds,split,metric,value\n1,32,0.1,1.0,train,loss,0.5\n")
    (folder / ".lock").touch()
    (folder / "wandb").mkdir()
    (folder / "wandb" / "note.txt").write_text("kept")
    return folder


def identify(tree: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Stands for the resolving of today's configurations: the id hashes what is written."""
    if tree["model"]["norm"] == "gone":
        raise UsageError("model.norm: unknown norm 'gone'")
    hashed = {section: tree[section] for section in ("data", "model", "optimizer", "budget", "trainer", "seed")}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16], tree


def move_all(root: Path) -> list[Move]:
    return list(moved(root, identify))


def test_the_id_of_version_0_1_is_known() -> None:
    assert layout1.run_id(OLD) == OLD_ID
    assert layout1.run_id(old_config(data__dir="/elsewhere", trainer__checkpoints=3, logger={})) == OLD_ID
    assert layout1.run_id(old_config(seed=4)) != OLD_ID


def test_an_old_result_is_moved_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    old = write_old(tmp_path)
    assert list(old_folders(tmp_path)) == [old]
    assert waiting_line(tmp_path) == (
        f"1 result of version 0.1 in {tmp_path / 'width'} is not counted: "
        f"`normbench migrate` moves such results into {tmp_path}"
    )
    assert waiting_line(tmp_path, "width") == waiting_line(tmp_path)
    assert waiting_line(tmp_path, "depth") is None
    (move,) = move_all(tmp_path)
    assert move.moved
    assert move.new is not None
    assert str(move) == f"{old} moved to {move.new}"
    assert move.new.parent == tmp_path
    assert not old.parent.exists(), "an empty study's folder goes as well"
    store = Store(tmp_path)
    folder = store.folder(move.new.name)
    result = folder.result()
    assert result is not None
    assert result["migrated_from"] == {"layout": 1, "study": "width", "run_id": old.name}
    assert result["metrics"] == run_result("")["metrics"]
    assert result["config"] == folder.config()
    assert result["code_digest"] is None
    assert len(folder.curves()) == 1
    assert (folder.path / "wandb" / "note.txt").read_text() == "kept"
    assert store.studies_of(folder.id) == ("width",)
    assert store.finished() == {folder.id}
    assert len(store.table({folder.id: {"model.norm": "batch"}})) == 1
    assert waiting_line(tmp_path) is None
    assert move_all(tmp_path) == []


def test_unions_become_sections() -> None:
    tree = layout1.converted(OLD, "cpu")
    assert isinstance(tree, dict)
    assert tree["model"] == {
        "name": "mlp",
        "norm": "batch",
        "norm_options": {"eps": 1e-05, "momentum": 0.1},
        "hidden": [64],
        "dropout": 0.0,
        "activation": "relu",
        "norm_position": "before",
        "norm_linear": True,
        "norm_logits": False,
        "bias": "auto",
    }
    assert tree["data"] == {"name": "mnist", "batch_size": 32, "allow_embedded": True}
    assert tree["budget"] == {"steps": 20}
    assert tree["optimizer"]["momentum"] == 0.9
    assert tree["trainer"]["accelerator"] == "cpu"
    assert (tree["seed"], tree["plugins"], tree["probes"]) == (3, [], {})


@pytest.mark.parametrize(
    ("changes", "device", "section", "key", "value"),
    [
        ({"optimizer__name": "adam"}, "cpu", "optimizer", "momentum", None),
        ({"model__options": {"depth": 3}}, "cpu", "model", "depth", 3),
        ({}, "NVIDIA H100 80GB HBM3", "trainer", "accelerator", "cuda"),
        ({"trainer__accelerator": "gpu"}, "NVIDIA A100", "trainer", "accelerator", "cuda"),
        ({"trainer__accelerator": "gpu"}, "mps", "trainer", "accelerator", "mps"),
        ({"trainer__precision": "32"}, "cpu", "trainer", "precision", "32-true"),
        ({"trainer__precision": "bf16"}, "cpu", "trainer", "precision", "bf16-mixed"),
        ({"trainer__precision": "16-mixed"}, "cpu", "trainer", "precision", "16-mixed"),
    ],
)
def test_what_a_key_becomes(changes: dict[str, Any], device: str, section: str, key: str, value: Any) -> None:
    tree = layout1.converted(old_config(**changes), device)
    assert isinstance(tree, dict)
    assert tree[section].get(key) == value
    assert "options" not in tree["model"]


Spoil = Callable[[Path], object]


def rewrite(folder: Path, **changes: Any) -> None:
    result = json.loads((folder / RESULT).read_text())
    (folder / RESULT).write_text(json.dumps(result | changes, indent=2))


STAYS: dict[str, tuple[dict[str, Any], Spoil, str]] = {
    "a norm that is gone": ({"model__norm": "gone"}, lambda folder: None, "unknown norm 'gone'"),
    "an option with a key's name": ({"model__options": {"norm": 1}}, lambda folder: None, "model.options.norm"),
    "an edited configuration": ({}, lambda folder: rewrite(folder, config=old_config(seed=9)), "is that of run"),
    "another run's result": ({}, lambda folder: rewrite(folder, run_id=run_name(4)), "is that of run"),
    "no configuration": ({}, lambda folder: rewrite(folder, config=None), "is not a whole result"),
    "half a configuration": ({}, lambda folder: rewrite(folder, config={"seed": 1}), "is not a whole result"),
    "no environment": ({}, lambda folder: rewrite(folder, environment={}), "is not a whole result"),
    "no steps": ({}, lambda folder: rewrite(folder, steps=None), "has no usable steps"),
    "a plug-in that is gone": (
        {"plugins": ["/nowhere/rms.py"]},
        lambda folder: None,
        "plugin /nowhere/rms.py: No such file",
    ),
}


@pytest.mark.parametrize("kind", STAYS)
def test_what_cannot_be_moved_stays_and_says_why(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, spoil, reason = STAYS[kind]
    with monkeypatch.context() as patch:
        patch.setattr(layout1, "_digest", lambda path: "0" * 16)
        old = write_old(tmp_path, **changes)
    spoil(old)
    good = write_old(tmp_path, seed=5)
    content = (old / RESULT).read_bytes()
    found = {move.old: move for move in move_all(tmp_path)}
    assert found[old].new is None
    assert reason in found[old].reason
    assert str(found[old]).startswith(f"{old} stays: ")
    assert (old / RESULT).read_bytes() == content
    assert found[good].new is not None, "the others are moved"
    assert list(old_folders(tmp_path)) == [old]


def test_an_edited_plug_in_is_another_run(tmp_path: Path) -> None:
    plugin = tmp_path / "rms.py"
    plugin.write_text("one")
    old = write_old(tmp_path, plugins=[str(plugin)])
    plugin.write_text("two")
    (move,) = move_all(tmp_path)
    assert (move.old, move.new) == (old, None)
    assert "a plug-in was edited since?" in move.reason


def test_a_cell_that_two_studies_trained_is_one_run_of_both(tmp_path: Path) -> None:
    write_old(tmp_path, "depth")
    write_old(tmp_path, "width")
    first, second = move_all(tmp_path)
    assert first.new == second.new
    assert first.new is not None
    assert Store(tmp_path).studies_of(first.new.name) == ("depth", "width")
    assert list(old_folders(tmp_path)) == []


def test_two_results_of_one_run_that_differ_are_both_kept(tmp_path: Path) -> None:
    write_old(tmp_path, "depth")
    other = write_old(tmp_path, "width")
    rewrite(other, metrics={"test_accuracy": 0.5})
    _, second = move_all(tmp_path)
    assert second.new is None
    assert "has a result already that gives other numbers" in second.reason
    assert other.exists()


def test_an_interrupted_move_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_old(tmp_path)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            move_all(tmp_path)
    assert old.exists()
    (move,) = move_all(tmp_path)
    assert move.new is not None
    assert not old.exists()


def test_a_folder_that_is_being_trained_stays(tmp_path: Path) -> None:
    write_old(tmp_path)
    tree = layout1.converted(OLD, "cpu")
    assert isinstance(tree, dict)
    with Store(tmp_path).folder(identify(tree)[0]).claim():
        (move,) = move_all(tmp_path)
    assert move.new is None
    assert "is being trained by another process" in move.reason


def test_a_checkpoint_of_another_attempt_does_not_stay_beside_a_moved_result(tmp_path: Path) -> None:
    write_old(tmp_path)
    tree = layout1.converted(OLD, "cpu")
    assert isinstance(tree, dict)
    folder = Store(tmp_path).folder(identify(tree)[0])
    folder.write_error("failed")
    folder.checkpoint_path.touch()
    move_all(tmp_path)
    assert folder.state() == "done"
    assert not folder.checkpoint_path.exists()
    assert folder.error() is None


def test_new_folders_and_those_of_others_are_no_old_results(tmp_path: Path) -> None:
    run_id = run_name(1)
    Store(tmp_path).folder(run_id).write_result(run_result(run_id))
    Store(tmp_path / "nested").folder(run_id).write_result(run_result(run_id))
    (tmp_path / "notes" / "drafts").mkdir(parents=True)
    unfinished = tmp_path / "width" / run_name(2)
    unfinished.mkdir(parents=True)
    (unfinished / "config.yaml").write_text(json.dumps(OLD))
    (tmp_path / "width" / run_name(3)).mkdir()
    (tmp_path / "width" / run_name(3) / RESULT).write_text("")
    assert list(old_folders(tmp_path)) == []
    assert list(old_folders(tmp_path / "nowhere")) == []
    assert waiting_line(tmp_path) is None


def test_the_first_bytes_or_all_of_a_result_tell_its_layout(tmp_path: Path) -> None:
    old = write_old(tmp_path)
    result = json.loads((old / RESULT).read_text())
    (old / RESULT).write_text(json.dumps(dict(reversed(result.items()))))
    assert list(old_folders(tmp_path)) == [old]


def test_old_runs_without_a_result_are_named_once_everything_else_is_moved(tmp_path: Path) -> None:
    moves = [write_old(tmp_path), write_old(tmp_path, seed=5), write_old(tmp_path, seed=6), write_old(tmp_path, seed=7)]
    good, unfinished, empty, foreign = moves
    (unfinished / RESULT).unlink()
    (empty / RESULT).write_text("")
    (foreign / RESULT).unlink()
    (foreign / "config.yaml").write_text("seed: 1\n")
    assert list(old_folders(tmp_path)) == [good]
    found = {move.old: move.reason for move in move_all(tmp_path)}
    assert found == {
        good: "",
        unfinished: "it has no result: its run is trained anew, and the folder can be removed",
        empty: "result.json is not a whole JSON object: its run is trained anew, and the folder can be removed",
    }
    assert all(folder.exists() for folder in (unfinished, empty, foreign))
    assert waiting_line(tmp_path) is None
