"""How the processes of one run find each other, and only each other.

On one node they meet over a file that the process that starts them makes: no port that another run could take. On
several nodes they meet at MASTER_ADDR:MASTER_PORT, for a bounded time. Either way each says which run it is for.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.environ import NODE
from normbench.errors import NormbenchError, UsageError
from normbench.spec.schema import RunConfig

if TYPE_CHECKING:
    from torch.distributed import Store

SECONDS_VARIABLE = "NORMBENCH_RENDEZVOUS_SECONDS"
SECONDS = 120.0
START_SECONDS = 600.0  # for the ranks of one node, which are watched and may have slow disks and few cores
LEAVE_SECONDS = 5.0
COLLECTIVE = timedelta(minutes=30)  # what one rank may wait for another: rank 0 writes a checkpoint, say
LOOK_SECONDS = 0.05
HAS_RESULT = ", with its result"  # said instead of coming to train


@dataclass(frozen=True)
class Node:
    """One of the machines of a run.

    Args:
        rank: Its number, from 0.
        address: Of node 0; "" where there is one node.
        port: On node 0; 0 where there is one node.
        seconds: How long it waits for the others.
    """

    rank: int = 0
    address: str = ""
    port: int = 0
    seconds: float = START_SECONDS


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a run meet, and as what one of them comes.

    Args:
        run: The run's id and whatever else all ranks must agree on.
        node: This machine.
        nodes: Machines.
        devices: Ranks on each of them.
        local_rank: Number of the rank on this machine.
        file: Where the ranks of one machine meet.
    """

    run: str
    node: Node
    nodes: int
    devices: int
    local_rank: int
    file: Path

    @property
    def rank(self) -> int:
        """Number of the rank among all."""
        return self.node.rank * self.devices + self.local_rank

    @property
    def world(self) -> int:
        """All ranks."""
        return self.nodes * self.devices


def node_of(config: RunConfig) -> Node:
    """This machine's place in a run, from the environment where the run has several nodes. Raises UsageError."""
    count = config.trainer.num_nodes
    if count == 1:
        return Node(seconds=START_SECONDS)
    asked = f"trainer.num_nodes={count}"
    missing = [name for name in NODE if not os.environ.get(name, "").strip()]
    if missing:
        raise UsageError(
            f"{asked}: start the same command on each node with NODE_RANK (0 to {count - 1}), MASTER_ADDR and "
            f"MASTER_PORT set; missing here: {', '.join(missing)}"
        )
    rank, address, port = (os.environ[name].strip() for name in NODE)
    if not rank.isdigit() or int(rank) >= count:
        raise UsageError(f"NODE_RANK={rank}: expected a number from 0 to {count - 1} ({asked})")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"MASTER_PORT={port}: expected a free port of node 0, such as 29500")
    return Node(int(rank), address, int(port), _seconds())


def _seconds() -> float:
    text = os.environ.get(SECONDS_VARIABLE, "").strip()
    try:
        seconds = float(text or SECONDS)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f"{SECONDS_VARIABLE}={text}: expected seconds")
    return seconds


def refuse_second_launcher(config: RunConfig) -> None:
    """Raises UsageError where torchrun or srun has started this very process several times.

    The variables alone do not tell: a shell inherits them. Their program being the parent does.
    """
    told = {"torchrun": "WORLD_SIZE", "srun": "SLURM_STEP_NUM_TASKS"}
    for program, variable in told.items():
        count = os.environ.get(variable, "")
        if count.isdigit() and int(count) > config.trainer.num_nodes and _started_by(program):
            raise UsageError(
                f"{program} started {count} processes: normbench starts one for each of trainer.devices itself, so "
                "start it once on each node"
            )


def _started_by(program: str) -> bool:
    import psutil

    signs = {"torchrun": ("torchrun", "torch.distributed.run", "torch.distributed.launch"), "srun": ("slurmstepd",)}
    try:
        parent = psutil.Process().parent()
        words = [parent.name(), *parent.cmdline()[:4]] if parent else []
    except psutil.Error:
        return False
    return any(sign in word for word in words for sign in signs[program])


def meet(meeting: Meeting, backend: str, device: Any = None) -> None:
    """Joins this rank with the others of its run; Lightning then finds the process group made.

    Args:
        meeting: Where, and as what.
        backend: gloo or nccl.
        device: The torch device of an nccl rank.

    Raises:
        NormbenchError: The others do not come in time, or came for another run.
    """
    import torch.distributed as dist

    store = store_of(meeting)
    _wait_for_all(store, meeting)
    dist.init_process_group(
        backend, store=store, rank=meeting.rank, world_size=meeting.world, timeout=COLLECTIVE, device_id=device
    )


def store_of(meeting: Meeting) -> Store:
    """Where the ranks of a run write down that they have come; raises NormbenchError where it cannot be reached."""
    import torch.distributed as dist

    node = meeting.node
    if meeting.nodes == 1:
        return dist.FileStore(str(meeting.file), meeting.world)
    where = f"{node.address}:{node.port}"
    if meeting.rank > 0:
        _wait_for_port(meeting)
    try:
        # Nobody waits inside: `_wait_for_all` can say who is missing.
        return dist.TCPStore(
            node.address,
            node.port,
            meeting.world,
            meeting.rank == 0,
            timedelta(seconds=node.seconds),
            wait_for_workers=False,
        )
    except (RuntimeError, ValueError) as error:
        if "EADDRINUSE" in str(error) or "address already in use" in str(error):
            raise NormbenchError(
                f"MASTER_PORT={node.port} is in use on node 0, by another run perhaps: choose another port"
            ) from None
        why = " ".join(str(error).split())[:200]
        raise NormbenchError(f"node {node.rank} cannot reach node 0 at {where}: {why}") from None


def _wait_for_port(meeting: Meeting) -> None:
    """Waits until node 0 listens. (TCPStore's own wait writes pages of warnings.)"""
    node = meeting.node
    deadline = time.monotonic() + node.seconds
    while True:
        try:
            left = max(0.1, deadline - time.monotonic())
            with socket.create_connection((node.address, node.port), timeout=min(5.0, left)):
                return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise NormbenchError(
                    f"node {node.rank} waited {node.seconds:.0f} s for node 0 at {node.address}:{node.port} "
                    f"({error.strerror or error}): is the same command started there, with NODE_RANK=0?"
                ) from None
        time.sleep(LOOK_SECONDS)


def _wait_for_all(store: Store, meeting: Meeting) -> None:
    """Waits until all ranks of all nodes are there, for the same run."""
    try:
        _exchange(store, meeting)
    except RuntimeError as error:  # of torch: the store's process is gone
        why = " ".join(str(error).split())[:200]
        raise NormbenchError(f"node {meeting.node.rank} has lost node 0 before training began: {why}") from None


def _exchange(store: Store, meeting: Meeting) -> None:
    store.set(f"rank {meeting.rank}", meeting.run)
    missing = set(range(meeting.world))
    deadline = time.monotonic() + meeting.node.seconds
    while missing:
        come = {rank for rank in missing if store.check([f"rank {rank}"])}
        missing -= come
        for rank in come:
            if store.get(f"rank {rank}").decode() == meeting.run.partition(",")[0] + HAS_RESULT:
                _leave(store, meeting, store.add("read", 1))
                raise NormbenchError(
                    f"node {rank // meeting.devices} has the result of this run already, node {meeting.node.rank} has "
                    "not: there is nothing to train; take it from there, or give all nodes the same run folder"
                )
        if missing and time.monotonic() >= deadline:
            raise NormbenchError(_missing_line(missing, meeting))
        if missing:
            time.sleep(LOOK_SECONDS)
    said = {rank: store.get(f"rank {rank}").decode() for rank in range(meeting.world)}
    read = store.add("read", 1)
    for rank, run in said.items():
        if run != said[0]:
            _leave(store, meeting, read)
            raise NormbenchError(
                f"node {rank // meeting.devices} came for '{run}', node 0 for '{said[0]}': start the same command on "
                "each node, with the same run folder (a shared one, or one without a checkpoint)"
            )


def _leave(store: Store, meeting: Meeting, read: int) -> None:
    """Rank 0 stays until the others know what was said: they ask its process."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while meeting.rank == 0 and read < meeting.world and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        read = store.add("read", 0)


def _missing_line(missing: Collection[int], meeting: Meeting) -> str:
    nodes = sorted({rank // meeting.devices for rank in missing})
    if meeting.nodes == 1:
        return f"ranks {sorted(missing)} did not start within {meeting.node.seconds:.0f} s"
    named = f"node{'s' * (len(nodes) > 1)} {', '.join(map(str, nodes))}"
    return (
        f"node {meeting.node.rank} waited {meeting.node.seconds:.0f} s for {named}: is the same command started on "
        f"each of the {meeting.nodes} nodes, with NODE_RANK, MASTER_ADDR and MASTER_PORT set?"
    )


def lost_node(error: Exception, meeting: Meeting) -> NormbenchError | None:
    """The one line for an error that says no more than that another node is gone; None for any other."""
    text = " ".join(str(error).split())
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "NCCL error")
    if meeting.nodes == 1 or not isinstance(error, RuntimeError) or not any(word in text for word in words):
        return None
    return NormbenchError(
        f"node {meeting.node.rank} has lost another node while training; start the same command on each node: it "
        f"continues from the last checkpoint ({text[:200]})"
    )


def loopback() -> str:
    """Name of the loopback interface: lo on Linux, lo0 on macOS."""
    names = [name for _, name in socket.if_nameindex()] if hasattr(socket, "if_nameindex") else []
    return next((name for name in ("lo", "lo0") if name in names), "lo")
