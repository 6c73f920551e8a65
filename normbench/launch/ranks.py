"""One run on as many processes as it asks for: this one, or a fresh one for each of its devices on this node.

On several nodes, start `normbench train` once on each with NODE_RANK, MASTER_ADDR and MASTER_PORT set.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from normbench.errors import NormbenchError
from normbench.launch.orphan import die_with_parent
from normbench.spec.resolve import devices
from normbench.spec.schema import RunConfig, from_dict, to_dict
from normbench.store.folder import Progress, read_result

ATTEMPTS = 3  # how often a run whose process is killed is started, by a rank watcher as by a pool
GRACE_SECONDS = 2.0  # a rank that was killed makes the others fail: wait for all to know which came first


class RankDiedError(NormbenchError):
    """A process of a multi-device run was ended from outside."""


def execute(config: RunConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Trains a run to its result, in this process or in one process a device.

    A run whose process is killed is continued from its last checkpoint, up to ATTEMPTS times.
    """
    if devices(config) == 1 or "LOCAL_RANK" in os.environ:
        from normbench.train.run import train

        return train(config, folder, progress)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _train_on_ranks(config, folder, progress)
            break
        except RankDiedError:
            if attempt == ATTEMPTS:
                raise
    result = read_result(folder)
    if result is None:
        raise NormbenchError(f"{folder}: its processes ended without a result")
    return result


def _train_on_ranks(config: RunConfig, folder: Path, progress: Progress | None) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    port = os.environ.get("MASTER_PORT") or str(_free_port())
    ranks: list[BaseProcess] = []
    try:
        for local_rank in range(config.trainer.devices):
            arguments = (to_dict(config), folder, local_rank, port, theirs)
            rank: BaseProcess = context.Process(target=_rank, args=arguments, name=f"normbench rank {local_rank}")
            rank.start()
            ranks.append(rank)
        theirs.close()
        _watch(ranks, ours, progress)
    finally:
        for rank in ranks:
            if rank.is_alive():
                rank.kill()
            rank.join()
        ours.close()


def _watch(ranks: list[BaseProcess], news: Connection, progress: Progress | None) -> None:
    """Passes on progress until all ranks have ended. Raises the error of the rank that failed first."""
    errors: list[BaseException] = []
    open_ = True
    while alive := [rank for rank in ranks if rank.is_alive()]:
        sources: list[Any] = [rank.sentinel for rank in alive]
        wait([*sources, *([news] if open_ else [])])
        open_ = open_ and _read(news, errors, progress)
        if any(rank.exitcode for rank in ranks):
            break
    deadline = time.monotonic() + GRACE_SECONDS
    for rank in ranks:
        rank.join(max(0.0, deadline - time.monotonic()))
    while open_ and news.poll():
        open_ = _read(news, errors, progress)
    killed = [(index, rank.exitcode) for index, rank in enumerate(ranks) if (rank.exitcode or 0) < 0]
    if killed:
        raise RankDiedError(f"rank {killed[0][0]} was ended by signal {-(killed[0][1] or 0)}: out of memory?")
    if errors:
        raise errors[0]
    failed = [index for index, rank in enumerate(ranks) if rank.exitcode != 0]
    if failed:
        raise NormbenchError(f"rank {failed[0]} failed without saying why")


def _read(news: Connection, errors: list[BaseException], progress: Progress | None) -> bool:
    """Takes what has come from the ranks; False once all of them have hung up."""
    try:
        while news.poll():
            item = news.recv()
            if isinstance(item, BaseException):
                errors.append(item)
            elif progress:
                progress(item)
    except (EOFError, OSError):
        return False
    return True


def _rank(tree: dict[str, Any], folder: Path, local_rank: int, port: str, news: Connection) -> None:
    """The life of one rank."""
    die_with_parent()
    # What LightningEnvironment reads; it starts no processes of its own when LOCAL_RANK is set.
    os.environ["LOCAL_RANK"] = str(local_rank)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ["MASTER_PORT"] = port
    config = from_dict(tree)
    if config.trainer.num_nodes == 1:
        # A machine whose own name does not resolve, or resolves to an outer address, still talks to itself.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    told = 0.0

    def progress(step: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.2:
            told = time.monotonic()
            news.send(step)

    try:
        from normbench.train.run import train

        train(config, folder, progress if local_rank == 0 else None)
    except Exception as error:
        try:
            news.send(error)
        except Exception:  # not every error can be pickled
            news.send(NormbenchError(f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from error


def _loopback() -> str:
    """Name of the loopback interface: lo on Linux, lo0 on macOS."""
    names = [name for _, name in socket.if_nameindex()] if hasattr(socket, "if_nameindex") else []
    return next((name for name in ("lo", "lo0") if name in names), "lo")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
