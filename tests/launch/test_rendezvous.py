"""How ranks meet: real processes and stores, no training."""

from __future__ import annotations

import multiprocessing
import socket
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.launch.rendezvous import LEAVE_SECONDS, Meeting, Node, loopback, meet, node_of
from normbench.launch.telling import tell_result
from normbench.spec import RunConfig, run_config

VARIABLES = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def nodes(count: int) -> RunConfig:
    return run_config({"trainer.num_nodes": count})


def set_variables(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name in (*VARIABLES, "NORMBENCH_RENDEZVOUS_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (VARIABLES | changes).items():
        monkeypatch.setenv(name, value)


def test_the_place_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, NORMBENCH_RENDEZVOUS_SECONDS="7.5")
    assert node_of(nodes(2)) == Node(1, "10.0.0.1", 29500, 7.5)
    assert node_of(nodes(1)) == Node(), "one node does not hear the variables"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"MASTER_PORT": ""}, r"trainer.num_nodes=2: .*NODE_RANK \(0 to 1\), .*missing here: MASTER_PORT"),
        ({"NODE_RANK": "", "MASTER_ADDR": ""}, "missing here: NODE_RANK, MASTER_ADDR"),
        ({"NODE_RANK": "2"}, "NODE_RANK=2: expected a number from 0 to 1"),
        ({"NODE_RANK": "one"}, "NODE_RANK=one: expected a number"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999: expected a free port"),
        ({"NORMBENCH_RENDEZVOUS_SECONDS": "soon"}, "NORMBENCH_RENDEZVOUS_SECONDS=soon: expected seconds"),
    ],
)
def test_what_is_missing_or_wrong_is_said(changes: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, **changes)
    with pytest.raises(UsageError, match=line):
        node_of(nodes(2))


def _join(meeting: Meeting, pipe: Connection) -> None:
    import os

    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = loopback()
    try:
        meet(meeting, "gloo")
        total = torch.ones(1)
        dist.all_reduce(total)
        pipe.send(int(total))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def joined(*meetings: Meeting, ways: tuple[Any, ...] = ()) -> list[Any]:
    """What each rank came to: the number of ranks, or its error."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for meeting, way in zip(meetings, ways or [_join] * len(meetings), strict=True):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=way, args=(meeting, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    answers = [pipe.recv() if pipe.poll(60) else "no answer" for pipe in pipes]
    for process in processes:
        process.join(LEAVE_SECONDS)
        process.kill()
    return answers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node(rank: int, port: int, seconds: float = 30, run: str = "a") -> Meeting:
    return Meeting(run, Node(rank, "127.0.0.1", port, seconds), nodes=2, devices=1, local_rank=0, file=Path())


def test_ranks_of_one_node_meet_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    one = Meeting("a", Node(seconds=60), nodes=1, devices=2, local_rank=0, file=tmp_path / "a folder" / "ranks")
    assert joined(one, replace(one, local_rank=1)) == [2, 2]


def test_two_nodes_meet() -> None:
    port = free_port()
    assert joined(node(1, port), node(0, port)) == [2, 2]


def test_nodes_of_two_runs_do_not_train_together() -> None:
    port = free_port()
    answers = joined(node(0, port, run="a"), node(1, port, run="b"))
    assert all("node 1 came for 'b', node 0 for 'a': start the same command" in answer for answer in answers)


def test_a_missing_node_is_named_in_time() -> None:
    port = free_port()
    first, second = joined(node(0, port, 1.0))[0], joined(node(1, port, 1.0))[0]
    assert first.startswith("NormbenchError: node 0 waited 1 s for node 1: is the same command started on each of")
    assert second.startswith(f"NormbenchError: node 1 waited 1 s for node 0 at 127.0.0.1:{port} (Connection refused)")


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (answer,) = joined(node(0, port, 2.0))
    assert answer.startswith(f"NormbenchError: MASTER_PORT={port} is in use on node 0")


def _tell(meeting: Meeting, pipe: Connection) -> None:
    tell_result(meeting)
    pipe.send("told")


@pytest.mark.parametrize("done", [0, 1])
def test_a_node_that_has_the_result_tells_the_other_at_once(done: int) -> None:
    """Its limit is far away: one that waited for it would have no answer."""
    port = free_port()
    told, answer = joined(
        node(done, port, 600), node(1 - done, port, 600, run="a, with a checkpoint"), ways=(_tell, _join)
    )
    assert told == "told"
    assert answer.startswith(f"NormbenchError: node {done} has the result of this run already, node {1 - done} has not")


def test_nodes_that_all_have_the_result_go_on() -> None:
    port = free_port()
    assert joined(node(0, port, 600), node(1, port, 600), ways=(_tell, _tell)) == ["told", "told"]


def test_another_run_is_not_taken_for_done() -> None:
    port = free_port()
    _, answer = joined(node(0, port, 600, run="b"), node(1, port, 600), ways=(_tell, _join))
    assert "node 1 came for 'a', node 0 for 'b, with its result'" in answer
