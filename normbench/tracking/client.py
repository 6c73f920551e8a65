"""The wandb package as normbench uses it: found or named as missing, quiet, and deaf to variables that rename runs."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from normbench import environ
from normbench.errors import NormbenchError

PACKAGES = {"wandb": "wandb>=0.30,<0.32", "wandb_workspaces": "wandb-workspaces>=0.4.13,<0.5"}
INIT_SECONDS = 15.0

# Variables of wandb's own that say how a server is reached and where files of the client go. All others would decide
# which run is which (WANDB_SWEEP_ID, WANDB_RUN_ID, WANDB_RUN_GROUP, WANDB_NAME, WANDB_RESUME, WANDB_TAGS, ...) or send
# what concerns nobody (WANDB_USER_EMAIL, WANDB_HOST): wandb is not shown them.
HEARD = frozenset(
    """
    WANDB_API_KEY WANDB_BASE_URL WANDB_APP_URL WANDB_IDENTITY_TOKEN_FILE WANDB_CREDENTIALS_FILE
    WANDB_CONFIG_DIR WANDB_CACHE_DIR WANDB_DATA_DIR WANDB_ARTIFACT_DIR
    WANDB_HTTP_PROXY WANDB_HTTPS_PROXY WANDB_HTTP_TIMEOUT WANDB_INSECURE_DISABLE_SSL WANDB__EXTRA_HTTP_HEADERS
    WANDB_ERROR_REPORTING WANDB_SERVICE
    """.split()  # noqa: SIM905  (a list of one word a line is longer)
)

# Settings that such variables become.
RENAMING = ("sweep_id", "launch", "run_id", "run_group", "run_name", "run_notes", "run_tags", "run_job_type", "resume")

_said: set[str] = set()
_lock = threading.RLock()


def missing(package: str) -> str:
    """What to do about a package that is not installed, or cannot be used; "" where it can."""
    # wandb looks for its settings there, or ends with an error.
    if package == "wandb" and environ.expanded("~") is None:
        return "there is no home folder for its settings: set HOME"
    try:
        found = importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        found = False
    return "" if found else f"the package {package} is not installed (pip install '{PACKAGES[package]}')"


def require(package: str) -> None:
    """Raises NormbenchError, with the command to install it, where a package is missing."""
    if problem := missing(package):
        raise NormbenchError(f"wandb: {problem}")


def wandb_module() -> Any:
    """The wandb package, without its reports to its makers. Raises NormbenchError where it is not installed."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    require("wandb")
    import wandb

    return wandb


def silent_wandb() -> Any:
    """The wandb package, set up to leave the talking to normbench."""
    wandb = wandb_module()
    with own_environment():
        wandb.setup(wandb.Settings(silent=True))
    return wandb


@contextmanager
def own_environment() -> Iterator[None]:
    """Hides from wandb all variables of its own but HEARD, while it is set up or opens a run.

    It reads them once in a process, and with WANDB_SWEEP_ID among them it takes neither an id nor a project from
    anybody else.
    """
    with _lock:
        hidden = {name: value for name, value in os.environ.items() if name.startswith("WANDB_") and name not in HEARD}
        for name in hidden:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(hidden)


def open_run(wandb: Any, **given: Any) -> Any:
    """`wandb.init` of exactly what is given."""
    with own_environment():
        shared = wandb.setup(wandb.Settings(silent=True)).settings
        if any(getattr(shared, name, None) for name in RENAMING):
            # Another program of this process has set wandb up, and it has heard of a run or a sweep of theirs.
            wandb.teardown()
            wandb.setup(wandb.Settings(silent=True))
        return wandb.init(reinit="finish_previous", **given)


def settings(wandb: Any, finish_seconds: float, strict: bool, system: bool = False) -> Any:
    """Settings of a W&B run that neither talks nor waits for ever, and tells nothing of the machine.

    Args:
        wandb: The package.
        finish_seconds: Longest wait for the last rows.
        strict: A wait that is longer is an error.
        system: Sample CPU, memory and GPU use.
    """
    return wandb.Settings(
        init_timeout=INIT_SECONDS,
        finish_timeout=finish_seconds,
        finish_timeout_raises=strict,
        silent=True,
        console="off",
        # A result's environment says what it depends on; user, host, program and command line concern nobody.
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=not system,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        host="",
        username="",
        email="",
        program="normbench",
        program_relpath="normbench",
    )


def without_key(text: str) -> str:
    """`text` as one line, with no API key in it."""
    key = os.environ.get("WANDB_API_KEY")
    return " ".join((text.replace(key, "***") if key else text).split())


def say_once(line: str) -> None:
    """A line on stderr, once a process."""
    line = without_key(line)
    if line not in _said:
        _said.add(line)
        print(line, file=sys.stderr, flush=True)


def bounded(function: Callable[[], Any], seconds: float, otherwise: Any) -> Any:
    """What `function` returns, or `otherwise` where it takes longer. It must not raise."""
    answer = [otherwise]

    def call() -> None:
        answer[0] = function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0]
