"""Variables that shells, schedulers and other programs leave behind: no number changes and nothing waits for ever."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .processes import SMALL, end, free_port, metrics, results, start, start_words, until, write_study

pytestmark = pytest.mark.slow

LEFT_BEHIND = {
    "PL_TRAINER_LIMIT_TEST_BATCHES": "1",
    "PL_TRAINER_LIMIT_TRAIN_BATCHES": "3",
    "PL_TRAINER_LIMIT_VAL_BATCHES": "0",
    "PL_TRAINER_MAX_TIME": "{'milliseconds': 100}",
    "PL_TRAINER_BAREBONES": "true",
    "PL_GLOBAL_SEED": "7",
    "NODE_RANK": "1",
    "LOCAL_RANK": "0",
    "GROUP_RANK": "1",
    "RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "10.255.255.1",
    "MASTER_PORT": "29613",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_JOB_ID": "5",
    "SLURM_JOB_NAME": "job",
    "SLURM_STEP_NUM_TASKS": "2",
    "TORCHELASTIC_RUN_ID": "x",
    "GLOO_SOCKET_IFNAME": "no-such-card",
    "GIT_DIR": "/nowhere",
}


@pytest.mark.parametrize("devices", [1, 2])
def test_variables_left_behind_change_nothing(devices: int, tmp_path: Path) -> None:
    words = ["train", *SMALL, "--budget.steps", 12, "--trainer.devices", devices, "--runs"]
    for folder, environment in (("clean", {}), ("shell", LEFT_BEHIND)):
        status, _, err = end(start(*words, tmp_path / folder, **environment))
        assert (status, err) == (0, "")
    assert metrics(tmp_path / "shell") == metrics(tmp_path / "clean")
    (one,), (other,) = results(tmp_path / "shell").values(), results(tmp_path / "clean").values()
    assert one["environment"]["processes"] == devices
    assert one["environment"].get("commit") == other["environment"].get("commit"), "GIT_DIR is not heard"


def test_a_port_in_the_environment_does_not_mix_two_runs(tmp_path: Path) -> None:
    study = write_study(tmp_path, "port", 20, devices=2)
    for folder, workers, environment in (
        ("alone", 1, {}),
        ("together", 2, {"MASTER_PORT": "29613", "MASTER_ADDR": "127.0.0.1"}),
    ):
        status, _, err = end(start("run", study, "--workers", workers, "--runs", tmp_path / folder, **environment))
        assert status == 0, err
    assert len(metrics(tmp_path / "alone")) == 2
    assert metrics(tmp_path / "together") == metrics(tmp_path / "alone")


@pytest.mark.parametrize("shared", [True, False])
def test_two_nodes_train_one_run(shared: bool, tmp_path: Path) -> None:
    words = ["train", *SMALL, "--budget.steps", 8, "--trainer.num_nodes", 2, "--runs"]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
    folders = [tmp_path / "runs", tmp_path / ("runs" if shared else "other")]
    nodes = [start(*words, folder, NODE_RANK=str(rank), **environment) for rank, folder in enumerate(folders)]
    for node in nodes:
        status, out, err = end(node)
        assert (status, err) == (0, "")
        assert "test_accuracy" in out
    (result,) = results(folders[0]).values()
    assert result["environment"]["processes"] == 2
    if not shared:
        assert not results(folders[1]), "one run has one result"
    environment |= {"MASTER_PORT": free_port(), "NORMBENCH_RENDEZVOUS_SECONDS": "600"}  # who waits for it fails here
    nodes = [start(*words, folder, NODE_RANK=str(rank), **environment) for rank, folder in enumerate(folders)]
    (status, _, _), (other, _, err) = map(end, nodes)
    assert (status, other) == (0, 0 if shared else 1), "the second time the result is there"
    assert shared or "error: node 0 has the result of this run already, node 1 has not" in err


def test_a_node_without_the_other_ends_with_one_line(tmp_path: Path) -> None:
    words = ["train", *SMALL, "--budget.steps", 8, "--trainer.num_nodes", 2, "--runs", tmp_path]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NORMBENCH_RENDEZVOUS_SECONDS": "2"}
    status, _, err = end(start(*words, NODE_RANK="0", **environment), 60)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "node 0 waited 2 s for node 1: is the same command started on each of the 2 nodes" in err
    status, _, err = end(start(*words), 60)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "missing here: NODE_RANK, MASTER_ADDR, MASTER_PORT" in err


def test_a_node_that_is_lost_ends_the_other_and_both_can_continue(tmp_path: Path) -> None:
    words = ["train", *SMALL, "--budget.steps", 100, "--trainer.checkpoints", 50, "--trainer.num_nodes", 2]
    words += ["--runs", tmp_path]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
    nodes = [start(*words, NODE_RANK=str(rank), **environment) for rank in range(2)]
    until(lambda: list(tmp_path.glob("*/checkpoint.ckpt")), nodes[0])
    nodes[1].kill()
    end(nodes[1])
    status, _, err = end(nodes[0], 30)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "node 0 has lost another node while training; start the same command on each node" in err
    nodes = [start(*words, NODE_RANK=str(rank), **environment) for rank in range(2)]
    assert [end(node)[::2] for node in nodes] == [(0, ""), (0, "")]
    assert len(results(tmp_path)) == 1


def test_a_study_on_two_nodes_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path, "nodes", 8)
    study.write_text(study.read_text().replace("devices: 1", "num_nodes: 2"))
    status, _, err = end(start("run", study, "--runs", tmp_path / "runs"), 60)
    assert status == 2
    assert "trainer.num_nodes=2: a study on this machine has one" in err.splitlines()[-1]


def test_torchrun_is_told_at_once(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "normbench"]
    status, _, err = end(start_words([*words, "train", *SMALL, "--runs", str(tmp_path)]), 90)
    assert status != 0
    assert "torchrun started 2 processes: normbench starts one for each of trainer.devices itself" in err
    assert not results(tmp_path)


def test_a_folder_with_spaces_and_no_home(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    words = ["train", *SMALL, "--budget.steps", 4, "--trainer.devices", 2, "--runs", tmp_path / "r u n s"]
    bare = {"TMPDIR": str(tmp_path / "a b"), "HOME": "", "USER": "", "LOGNAME": "", "XDG_CACHE_HOME": ""}
    status, _, err = end(start(*words, **bare))
    assert (status, err) == (0, "")
    assert list((tmp_path / "a b").glob("normbench-*")) == [], "the meeting place is removed"


@pytest.mark.parametrize("devices", [1, 2])
def test_nowhere_to_keep_anything_is_no_reason_to_talk(tmp_path: Path, devices: int) -> None:
    """matplotlib, which torchmetrics imports, complained in every process."""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/dev/null")
    words = ["train", *SMALL, "--budget.steps", 4, "--trainer.devices", devices, "--runs", tmp_path]
    plugin = tmp_path / "own.py"  # a norm that nobody has measured: each rank has to know what it does
    plugin.write_text(
        "from torch import nn\nfrom normbench import register_norm\n\n@register_norm('own')\n"
        "def own(num_channels: int, eps: float = 1e-5):\n    return nn.GroupNorm(1, num_channels, eps)\n"
    )
    words += ["--plugins", plugin, "--model.norm", "own"]
    status, _, err = end(start(*words, **nowhere))
    assert (status, err) == (0, "")
