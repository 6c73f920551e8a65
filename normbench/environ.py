"""Which variables of the environment count, and which are kept from everything that normbench computes.

A leaf: it imports nothing of the package, so that a process is clean before it imports torch or Lightning, some of
whose modules read these variables when they are imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

# All variables that normbench or what it stands on is meant to hear, and what they do.
DOCUMENTED = {
    "NORMBENCH_DATA_DIR": "folder with MNIST/raw, where data.dir names none",
    "NORMBENCH_WANDB": "auto, online, offline or off: stronger than logger.wandb",
    "NORMBENCH_MACHINE": "file with the launcher of this machine and its options, where --machine names none",
    "NORMBENCH_RENDEZVOUS_SECONDS": "how long the nodes of one run wait for each other (120)",
    "NODE_RANK": "number of this node, from 0, where trainer.num_nodes is above 1",
    "MASTER_ADDR": "address of node 0, where trainer.num_nodes is above 1",
    "MASTER_PORT": "a free port of node 0, where trainer.num_nodes is above 1",
    "GLOO_SOCKET_IFNAME": "network interface between the nodes, where trainer.num_nodes is above 1",
    "WANDB_API_KEY": "key of W&B",
    "WANDB_MODE": "online, offline or disabled, where NORMBENCH_WANDB says nothing",
    "WANDB_PROJECT": "project of W&B, where logger.project names none",
    "WANDB_ENTITY": "user or team of W&B, where logger.entity names none",
    "WANDB_BASE_URL": "server of W&B",
    "CUDA_VISIBLE_DEVICES": "GPUs that may be used",
    "XDG_CACHE_HOME": "folder of the cache (~/.cache)",
    "TMPDIR": "folder for temporary files",
    "http_proxy, https_proxy, no_proxy": "how downloads and W&B reach the network",
}
# Read by the launcher of a run on several nodes, and by nothing else.
NODE = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
# What a command keeps until its run is launched: the above, how many processes torchrun or srun has started, and where
# Slurm's own commands find their cluster.
LAUNCH = (*NODE, "WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_CONF")

# Which process of how many this is: torchrun, Lightning, MPI and schedulers set them for a program of theirs, and
# whatever is started from there inherits them.
_RANKS: tuple[str, ...] = (
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE",
)
_RANKS += ("ROLE_WORLD_SIZE", "ROLE_NAME", "STANDALONE_PORT", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
_SCHEDULERS: tuple[str, ...] = (
    "SLURM_",
    "SBATCH_",
    "TORCHELASTIC_",
    "OMPI_",
    "PMI_",
    "PMIX_",
    "PRTE_",
    "MV2_",
    "JSM_",
    "LSB_",
    "FLUX_",
)
_SCHEDULERS += ("PALS_", "PBS_")
# Settings of Lightning's Trainer and of its command line; defaults that a run's id does not know.
_LIGHTNING = ("PL_", "LT_")
# Settings that choose the code for another processor stay: they round as that processor would, and some machines need
# them. A result records them.
PROCESSOR: tuple[str, ...] = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
)
PROCESSOR += ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")
# Settings that change how numbers are computed, or how a checkpoint is read; of CUDA also those that choose among
# algorithms, some of them by the time that each takes.
_NUMBERS: tuple[str, ...] = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE")
_NUMBERS += ("DNNL_DEFAULT_FPMATH_MODE", "CUBLAS_WORKSPACE_CONFIG", "CUBLAS_EMULATE_SINGLE_PRECISION")
_NUMBERS += ("CUBLAS_EMULATION_STRATEGY", "TORCH_BLAS_PREFER_CUBLASLT", "TORCH_CUDNN_USE_HEURISTIC_MODE_B")
_NUMBERS += ("TORCH_CUDNN_V8_API_DISABLED",)
_NUMBERS += ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
# What would make two runs one in W&B, or give them another name.
_WANDB: tuple[str, ...] = (
    "SWEEP_ID",
    "RUN_ID",
    "RUN_GROUP",
    "RUN_NAME",
    "NAME",
    "RESUME",
    "RESUME_FROM",
    "FORK_FROM",
    "TAGS",
    "NOTES",
)
_WANDB += ("JOB_TYPE", "SWEEP_PARAM_PATH", "DISABLED", "DIR", "PROGRAM")
# torchmetrics imports matplotlib, with which nothing here draws and which fails where it knows no such backend; gloo's
# choice of transport, some of which need certificates.
_LIBRARIES = ("MPLBACKEND", "MATPLOTLIBRC", "GLOO_DEVICE_TRANSPORT")
# Another repository than the one that the code lies in (set while a git hook runs).
_GIT = ("GIT_",)
# torch's own trials of algorithms on GPUs.
_TRIALS = ("PYTORCH_TUNABLEOP_",)

NAMES = frozenset((*_RANKS, *NODE, *_NUMBERS, *_LIBRARIES, *(f"WANDB_{name}" for name in _WANDB)))
PREFIXES = (*_SCHEDULERS, *_LIGHTNING, *_GIT, *_TRIALS)


def foreign(environment: Collection[str], keep: Collection[str] = ()) -> list[str]:
    """Names in `environment` that must not reach a training, sorted, without those to `keep`.

    Example:
        >>> foreign({"HOME": "/", "RANK": "1", "PL_TRAINER_MAX_TIME": "1"})
        ['PL_TRAINER_MAX_TIME', 'RANK']
    """
    return sorted(
        name for name in environment if name not in keep and (name in NAMES or name.upper().startswith(PREFIXES))
    )


def clean(environment: MutableMapping[str, str] | None = None, keep: Collection[str] = ()) -> dict[str, str]:
    """Removes what must not reach a training from an environment (this process's), and returns it."""
    environment = os.environ if environment is None else environment
    return {name: environment.pop(name) for name in foreign(environment, keep)}


def processor_settings() -> str:
    """The settings of PROCESSOR that this process has: `MKL_CBWR=AVX2`; empty where there are none."""
    return ", ".join(f"{name}={os.environ[name]}" for name in PROCESSOR if os.environ.get(name))


@contextmanager
def cleaned(keep: Collection[str] = ()) -> Iterator[dict[str, str]]:
    """This process's environment without what must not reach a training; put back afterwards. Yields what went.

    What came to be set meanwhile under such a name (Lightning sets WORLD_SIZE) goes, too.
    """
    removed = clean(keep=keep)
    try:
        yield removed
    finally:
        clean(keep=keep)
        os.environ.update(removed)


@contextmanager
def changed(values: Mapping[str, str | None]) -> Iterator[None]:
    """Variables of this process's environment at other values for a while (None: taken away); put back afterwards."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def expanded(path: str) -> Path | None:
    """A path whose `~` is this user's home; None where that is nowhere: a user without a name and without HOME."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return None


def cache_folder(name: str) -> Path | None:
    """The folder of that name in this user's cache; None where neither XDG_CACHE_HOME nor HOME says where that is.

    `~` is home, and a relative XDG_CACHE_HOME is none, as its specification has it.
    """
    named = expanded(os.environ.get("XDG_CACHE_HOME", ""))
    if named is not None and not named.is_absolute():
        named = expanded("~/.cache")
    return None if named is None else named / "normbench" / name


def quiet_matplotlib() -> None:
    """Drops what matplotlib, which torchmetrics imports and nothing here draws with, says of a cache of its own."""
    logging.getLogger("matplotlib").addFilter(_not_about_its_folders)


def _not_about_its_folders(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("mkdir -p failed for path", "Matplotlib created a temporary"))
