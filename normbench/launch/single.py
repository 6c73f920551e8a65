"""One run from its claim to its result: what `normbench train`, a worker and any other launcher do."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from normbench.errors import UsageError
from normbench.launch.ranks import execute
from normbench.launch.rendezvous import Meeting, node_of, refuse_second_launcher
from normbench.launch.telling import TELL_SECONDS, tell_result
from normbench.spec import RunConfig, run_id
from normbench.store.folder import Progress, RunFolder, place_of
from normbench.store.leftovers import Say, to_stderr
from normbench.store.result import Result


def train_run(
    config: RunConfig,
    folder: RunFolder | Path,
    progress: Progress | None = None,
    say: Say | None = None,
    around: AbstractContextManager[object] | None = None,
) -> Result | None:
    """The result of a run: the one that its folder has, or else that of training it, or of continuing it.

    The run's lock is held meanwhile. On several nodes node 0 holds it; the others join without it.

    Args:
        config: The resolved run.
        folder: Its folder.
        progress: Called with the number of optimizer steps done.
        say: Told in one line what was unusable in the folder; None: stderr.
        around: Entered for the training alone, if there is any.

    Returns:
        The result; None where another process trains the run.

    Raises:
        UsageError: Before anything is claimed, where NODE_RANK, MASTER_ADDR or MASTER_PORT of a run on several nodes
            is missing, or another program has started this one several times.
    """
    own = run_id(config)
    folder = folder if isinstance(folder, RunFolder) else place_of(folder, own)
    if folder.id != own:
        raise UsageError(f"folder {folder.path} is not that of run {own}: name it so, or let normbench choose it")
    say = say or to_stderr
    refuse_second_launcher(config)
    if node_of(config).rank > 0:
        return _told(config, _finished(config, folder, None), say) or _trained(config, folder, progress, around)
    with folder.claim(say) as claimed:
        if not claimed:
            return None
        return _told(config, _finished(config, folder, say), say) or _trained(config, folder, progress, around)


def _told(config: RunConfig, result: Result | None, say: Say) -> Result | None:
    """The result, once the other nodes of the run know that there is one."""
    trainer = config.trainer
    if result is not None and trainer.num_nodes > 1:
        say(f"the run is done: telling the other nodes, for {TELL_SECONDS:.0f} s at most")
        tell_result(Meeting(run_id(config), node_of(config), trainer.num_nodes, trainer.devices, 0, Path()))
    return result


def _trained(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress | None,
    around: AbstractContextManager[object] | None,
) -> Result:
    with around or nullcontext():
        return execute(config, folder.path, progress)


def _finished(config: RunConfig, folder: RunFolder, say: Say | None) -> Result | None:
    """The result that counts. Only who has something to `say` may touch the folder."""
    if folder.problem() is not None:
        if say:
            say(folder.set_aside())
        return None
    result = folder.result()
    if result is not None and config.trainer.keep != "none" and not folder.weights_path.exists():
        if say:
            say(f"{folder.path} is done, but its weights were not kept: training it again")
        return None
    return result
