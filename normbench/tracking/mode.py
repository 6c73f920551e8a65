"""Where a study's W&B runs go: online, offline or nowhere. Decided before wandb is asked for anything."""

from __future__ import annotations

import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from normbench.errors import UsageError
from normbench.spec.schema import LoggerConfig

VARIABLE = "NORMBENCH_WANDB"  # auto, online, offline or off; stronger than the configuration
ANSWER_SECONDS = 2.0
VERIFY_SECONDS = 10.0

Mode = Literal["online", "offline", "off"]

# What wandb's own variable means here. It has no "auto".
WANDB_MODES = {"disabled": "off", "offline": "offline", "dryrun": "offline", "online": "online", "run": "online"}

NO_KEY = "no API key is configured (`wandb login`)"
SENT_LATER = "`normbench wandb push STUDY` sends the runs"


@dataclass(frozen=True)
class Decision:
    """A mode, and why it is not the one that was asked for."""

    mode: Mode
    reason: str = ""

    def __str__(self) -> str:
        if self.mode == "offline":
            return f"wandb: offline{': ' if self.reason else ''}{self.reason}; {SENT_LATER} later"
        return f"wandb: {self.mode}"


def asked(logger: LoggerConfig) -> str:
    """The mode that was asked for: by NORMBENCH_WANDB, by WANDB_MODE, or else by the configuration."""
    wish = os.environ.get(VARIABLE, "").strip().lower()
    if wish:
        if wish not in {"auto", "online", "offline", "off"}:
            raise UsageError(f"{VARIABLE}={wish}: expected one of auto, online, offline, off")
        return wish
    return WANDB_MODES.get(os.environ.get("WANDB_MODE", "").strip().lower(), logger.wandb)


def decide(logger: LoggerConfig, verify: bool = False) -> Decision:
    """The mode to take. Asks for nothing on the terminal and returns within seconds.

    Args:
        logger: The logger section of a configuration.
        verify: Ask the server whether it takes the API key, too.

    Raises:
        UsageError: For `online` without an API key.
    """
    wish = asked(logger)
    if wish in {"off", "offline"}:
        return Decision("off" if wish == "off" else "offline")
    problem = key_problem()
    if problem:
        if wish == "online":
            raise UsageError(f"logger.wandb=online: {problem}: configure one, or logger.wandb=offline")
        return Decision("offline", problem)
    host = server()
    if not answers(host):
        return Decision("offline", f"{host} does not answer within {ANSWER_SECONDS:.0f} s")
    if verify and (problem := refusal()):
        return Decision("offline", problem)
    return Decision("online")


@contextmanager
def settled(logger: LoggerConfig) -> Iterator[Decision]:
    """Decides once for all runs inside, worker processes included, and says on stderr what was decided."""
    decision = decide(logger, verify=True)
    if decision.mode != "off":
        print(decision, file=sys.stderr, flush=True)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = decision.mode
    try:
        yield decision
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def server() -> str:
    """The address of the W&B server that wandb is configured for."""
    return str(silent_wandb().setup().settings.base_url).rstrip("/")


def key_problem() -> str:
    """Why there is no usable API key; empty if there is one. Never asks for one."""
    host = server()
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    try:
        found = wbauth.authenticate_session(host=host, source="normbench", prompt=False, update_session=False)
    except AuthenticationError:  # its text may quote the key
        return "the API key is not in the form of one (`wandb login --relogin`)"
    return "" if found else NO_KEY


def refusal() -> str:
    """Why the server does not take the API key; empty if it does."""
    wandb, host = silent_wandb(), server()

    def verify() -> str:
        try:
            wandb.Api(timeout=int(VERIFY_SECONDS))
        except wandb.errors.AuthenticationError:
            return f"{host} refuses the API key (`wandb login --relogin`)"
        except Exception as error:  # whatever is wrong there, the study starts
            return f"{host} does not let us in ({type(error).__name__})"
        finally:
            wandb.teardown()
        return ""

    return bounded(verify, VERIFY_SECONDS + 5, f"{host} does not say whether it takes the API key")


def answers(host: str) -> bool:
    """Whether the server says anything at all within ANSWER_SECONDS."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(host, timeout=ANSWER_SECONDS):
                return True
        except urllib.error.HTTPError:
            return True  # an error is an answer too
        except (OSError, ValueError):
            return False

    return bounded(ask, ANSWER_SECONDS, False)  # looking up a name has no time-out of its own


def bounded(function: Callable[[], Any], seconds: float, otherwise: Any) -> Any:
    """What `function` returns, or `otherwise` where it takes longer. It must not raise."""
    answer = [otherwise]

    def call() -> None:
        answer[0] = function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0]


def wandb_module() -> Any:
    """The wandb package, without its reports to its makers."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def silent_wandb() -> Any:
    """The wandb package, which leaves the talking to normbench."""
    wandb = wandb_module()
    wandb.setup(wandb.Settings(silent=True))
    return wandb
