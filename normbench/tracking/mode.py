"""Where a study's W&B runs go: online, offline or nowhere. Decided before wandb is asked for anything."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from normbench import environ
from normbench.errors import UsageError
from normbench.spec import LoggerConfig
from normbench.tracking.client import bounded, missing, own_environment, say_once, silent_wandb

VARIABLE = "NORMBENCH_WANDB"  # auto, online, offline or off; stronger than the configuration
TOLD = "NORMBENCH_WANDB_TOLD"  # set for worker processes: what is not done was said by the process that started them
ANSWER_SECONDS = 2.0
VERIFY_SECONDS = 10.0

Mode = Literal["online", "offline", "off"]

# What wandb's own variable means here. It has no "auto".
WANDB_MODES = {"disabled": "off", "offline": "offline", "dryrun": "offline", "online": "online", "run": "online"}
WISHES = ("auto", "online", "offline", "off")
MEDIA = ("histograms", "confusion_matrix", "filters", "misclassified")  # keys of the logger that only W&B shows

NO_KEY = "no API key is configured (`wandb login`)"
SENT_LATER = "`normbench wandb push STUDY` sends the runs"


@dataclass(frozen=True)
class Decision:
    """A mode, and why it is not the one that was asked for."""

    mode: Mode
    reason: str = ""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"wandb: {self.mode}{why}" + (f"; {SENT_LATER} later" if self.mode == "offline" else "")


def asked(logger: LoggerConfig) -> str:
    """The mode that was asked for: by NORMBENCH_WANDB, by WANDB_MODE, or else by the configuration."""
    wish = os.environ.get(VARIABLE, "").strip().lower()
    if wish:
        if wish not in WISHES:
            raise UsageError(f"{VARIABLE}={wish}: expected one of {', '.join(WISHES)}")
        return wish
    mode = os.environ.get("WANDB_MODE", "").strip().lower()
    if mode and mode not in WANDB_MODES:  # a misspelt "offline" must not send anything
        raise UsageError(f"WANDB_MODE={mode}: expected one of {', '.join(WANDB_MODES)}")
    return WANDB_MODES.get(mode, logger.wandb)


def decide(logger: LoggerConfig, verify: bool = False) -> Decision:
    """The mode to take. Asks for nothing on the terminal and returns within seconds.

    Args:
        logger: The logger section of a configuration.
        verify: Ask the server whether it takes the API key, too.

    Raises:
        UsageError: For `online` without an API key or without the package wandb.
    """
    wish = asked(logger)
    if wish == "off":
        return Decision("off")
    if problem := missing("wandb"):
        if wish == "online":
            raise UsageError(f"logger.wandb=online: {problem}")
        return Decision("off", problem)
    return Decision("offline") if wish == "offline" else _online_or_not(wish, verify)


def _online_or_not(wish: str, verify: bool) -> Decision:
    problem = key_problem()
    if problem and wish == "online":
        raise UsageError(f"logger.wandb=online: {problem}: configure one, or logger.wandb=offline")
    host = server()
    if not problem and not answers(host):
        problem = f"{host} does not answer within {ANSWER_SECONDS:.0f} s"
    if not problem and verify:
        problem = refusal()
    return Decision("offline", problem) if problem else Decision("online")


@contextmanager
def settled(logger: LoggerConfig) -> Iterator[Decision]:
    """Decides once for all runs inside, worker processes included, and says on stderr what was decided."""
    decision = decide(logger, verify=True)
    if decision.mode != "off" or decision.reason:
        print(decision, file=sys.stderr, flush=True)
    if decision.mode == "off":
        say_not_made(logger)
    with environ.changed({VARIABLE: decision.mode, TOLD: "1"}):
        yield decision


def say_not_made(logger: LoggerConfig) -> None:
    """Says, once, which media the configuration asks for that are not made since W&B is off."""
    wanted = [f"logger.{name}={getattr(logger, name)}" for name in MEDIA if getattr(logger, name)]
    if wanted and not os.environ.get(TOLD):
        verb = "is" if len(wanted) == 1 else "are"
        say_once(f"wandb: off: {', '.join(wanted)} {verb} not made, since only W&B shows that")


def server() -> str:
    """The address of the W&B server that wandb is configured for."""
    return str(silent_wandb().setup().settings.base_url).rstrip("/")


def key_problem() -> str:
    """Why there is no usable API key; empty if there is one. Never asks for one."""
    host = server()
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    try:
        with own_environment():
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
