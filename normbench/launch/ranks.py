"""One run on as many processes as it asks for: this one, or a fresh one for each of its devices on this node.

On several nodes, start `normbench train` once on each with NODE_RANK, MASTER_ADDR and MASTER_PORT set.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from normbench import environ
from normbench.errors import NormbenchError
from normbench.launch.ends import advice, how, signal_of
from normbench.launch.rendezvous import Meeting, node_of
from normbench.norms.facts import Facts
from normbench.norms.known import take_over, to_hand_over
from normbench.output import outlive_readers
from normbench.spec import DegenerateStatisticWarning
from normbench.spec.counts import devices
from normbench.spec.identity import run_id
from normbench.spec.keys import to_dict
from normbench.spec.resolve import resolve
from normbench.spec.schema import RunConfig
from normbench.stops import Stopped, Terminated
from normbench.store.folder import Progress, RunFolder
from normbench.store.result import Result

ATTEMPTS = 3  # how often a run whose process is killed is started, by a rank watcher as by a pool
GRACE_SECONDS = 2.0  # a rank that was killed makes the others fail: wait for all to know which came first


class RankDiedError(NormbenchError):
    """A process of a multi-device run was ended from outside."""


def execute(config: RunConfig, folder: Path, progress: Progress | None = None) -> Result:
    """Trains a run to its result, in this process or in one process a device, whatever the environment says.

    A run whose process is killed is continued from its last checkpoint, up to ATTEMPTS times. The caller holds the
    run's lock, on node 0.

    Args:
        config: The run.
        folder: Its folder.
        progress: Called with the number of optimizer steps done.

    Raises:
        Stopped: Ctrl-C; the same call continues.
        Terminated: SIGTERM; the same call continues.
    """
    node = node_of(config)
    with environ.cleaned():
        if devices(config) == 1:
            return train_here(config, folder, progress)
        config = resolve(config)
        # Ranks that start from another state, on a folder that is not shared, would not do the same.
        begun = ", with a checkpoint" if RunFolder(folder).checkpoint_path.exists() else ""
        trainer = config.trainer
        for attempt in range(1, ATTEMPTS + 1):
            meeting = Meeting(f"{run_id(config)}{begun}", node, trainer.num_nodes, trainer.devices, 0, Path())
            try:
                return _Ranks(config, folder, meeting, progress).train()
            except RankDiedError as died:
                if trainer.num_nodes > 1:
                    raise NormbenchError(f"{died}; start the same command on each node: it continues") from None
                if attempt == ATTEMPTS:
                    raise
                begun = ""
    raise AssertionError("the last attempt returns or raises")


def train_here(config: RunConfig, folder: Path, progress: Progress | None = None) -> Result:
    """Trains a run, or one rank of it, in this process; mirrored to W&B unless that is off."""
    from normbench.launch.lean import import_torchmetrics

    import_torchmetrics()
    from normbench.spec.counts import steps
    from normbench.tracking.mirror import Mirror
    from normbench.train.run import train

    try:
        with Mirror(config, folder, steps(config)) as mirror:
            mirror.result = train(config, folder, progress, mirror.callbacks)
            return mirror.result
    except SystemExit as end:
        # Lightning's word for a signal that came while it trained.
        raise (Terminated if "SIGTERM" in type(end).__name__ else Stopped) from None


@dataclass
class _Ranks:
    """The processes of one run on this node, watched to their end."""

    config: RunConfig
    folder: Path
    meeting: Meeting
    progress: Progress | None
    processes: list[BaseProcess] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    result: Result | None = None

    def train(self) -> Result:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        place = Path(tempfile.mkdtemp(prefix="normbench-"))
        measured = to_hand_over(str(self.config.model.norm))  # where no cache can be written, too
        try:
            for local_rank in range(self.meeting.devices):
                meeting = Meeting(**{**vars(self.meeting), "local_rank": local_rank, "file": place / "ranks"})
                arguments = (to_dict(self.config), self.folder, meeting, measured, theirs)
                process: BaseProcess = context.Process(
                    target=_rank, args=arguments, name=f"normbench rank {meeting.rank}"
                )
                process.start()
                self.processes.append(process)
            theirs.close()
            self._watch(ours)
        finally:
            for process in self.processes:
                if process.is_alive():
                    process.kill()
                process.join()
            ours.close()
            shutil.rmtree(place, ignore_errors=True)
        if self.result is None:
            raise NormbenchError(f"{self.folder}: its processes ended without a result")
        return self.result

    def _watch(self, news: Connection) -> None:
        """Takes news until all ranks have ended. Raises the error of the rank that failed first."""
        open_ = True
        while alive := [process for process in self.processes if process.is_alive()]:
            sources: list[Any] = [process.sentinel for process in alive]
            wait([*sources, *([news] if open_ else [])])
            open_ = open_ and self._read(news)
            if any(process.exitcode for process in self.processes):
                break
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        while open_ and news.poll():
            open_ = self._read(news)
        codes = {self.meeting.rank + index: process.exitcode for index, process in enumerate(self.processes)}
        for rank, code in codes.items():
            if signal_of(code):
                raise RankDiedError(f"rank {rank} {how(code)}{advice(code)}")
        if self.errors:
            raise self.errors[0]
        for rank, code in codes.items():
            if code != 0:
                raise NormbenchError(f"rank {rank} {how(code)} without saying why")

    def _read(self, news: Connection) -> bool:
        """Takes what has come from the ranks; False once all of them have hung up."""
        try:
            while news.poll():
                item = news.recv()
                if isinstance(item, BaseException):
                    self.errors.append(item)
                elif isinstance(item, dict):
                    self.result = item
                elif self.progress:
                    self.progress(item)
        except (EOFError, OSError):
            return False
        return True


def _rank(
    tree: Mapping[str, Any], folder: Path, meeting: Meeting, measured: list[tuple[str, str, Facts]], news: Connection
) -> None:
    """The life of one rank."""
    import os

    from normbench.launch.orphan import die_with_parent, end_on_sigterm
    from normbench.launch.rendezvous import loopback, lost_node, meet
    from normbench.spec.keys import from_dict

    end_on_sigterm()
    outlive_readers()
    warnings.simplefilter("ignore", DegenerateStatisticWarning)  # said before the ranks were started
    die_with_parent()
    environ.clean()
    # What LightningEnvironment reads; it starts no processes of its own when LOCAL_RANK is set.
    os.environ["LOCAL_RANK"], os.environ["NODE_RANK"] = str(meeting.local_rank), str(meeting.node.rank)
    if meeting.nodes == 1:
        # A machine whose own name does not resolve, or resolves to an outer address, still talks to itself.
        os.environ["GLOO_SOCKET_IFNAME"] = loopback()
    take_over(measured)
    told = 0.0

    def progress(step: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.2:
            told = time.monotonic()
            news.send(step)

    try:
        config = from_dict(tree)
        import torch

        if config.trainer.accelerator == "cuda":
            device = torch.device("cuda", meeting.local_rank)
            torch.cuda.set_device(device)
            meet(meeting, "nccl", device)
        else:
            meet(meeting, "gloo")
        result = train_here(config, folder, progress if meeting.local_rank == 0 else None)
        torch.distributed.destroy_process_group()
        if meeting.local_rank == 0:
            news.send(result)
    except Exception as error:
        news.send(_sendable(lost_node(error, meeting) or error))
        raise SystemExit(1) from error


def _sendable(error: Exception) -> Exception:
    """The error itself, with its traceback as a note, where it survives being sent; else one that says the same."""
    import pickle
    import traceback

    try:
        copy: Exception = pickle.loads(pickle.dumps(error))
        if str(copy) == str(error):
            copy.add_note("".join(traceback.format_exception(error)))
            pickle.loads(pickle.dumps(copy))
            return copy
    except Exception:  # not every error can be pickled
        pass
    return NormbenchError(f"{type(error).__name__}: {error}")
