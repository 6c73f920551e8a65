"""A norm as a command line names it: a registered one, or one that stands in a file: `my_norm.py:MyNorm`."""

from __future__ import annotations

import inspect
from pathlib import Path

from normbench.errors import UsageError, unknown
from normbench.norms.registry import HANDED
from normbench.spec.plugins import load_plugin
from normbench.spec.registry import NORMS, Deferred, Entry, entry_of


def named_norm(text: str) -> Entry:
    """The entry of a norm; one that its file does not register gets an entry that no registry holds.

    Args:
        text: A registered name, or FILE.py:NAME with the class or the function that makes the norm.

    Raises:
        UsageError: No such norm, a file that cannot be imported, or a name in it that is no class or function.
    """
    file, colon, name = text.rpartition(":")
    if not colon:
        if text.endswith(".py"):
            raise UsageError(f"{text}: say which norm of the file: {text}:NAME")
        entry = NORMS.get(text)
        if isinstance(entry.build, Deferred):  # known from the catalogue, which does not tell the author's claims
            entry.build.load()
        return NORMS.get(text)
    module = load_plugin(file)
    registered = [NORMS.get(known) for known in NORMS]
    build = vars(module).get(name)
    for entry in registered:
        if entry.build is build or (entry.name == name and entry.source == str(Path(file).expanduser().resolve())):
            return entry
    if build is None:
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise UsageError(f"{file}: {unknown('norm', name, own)}")
    if not callable(build):
        raise UsageError(f"{text} is no class and no function: it is {type(build).__name__}")
    first = first_parameter(build)
    known = [key for key in HANDED if key in inspect.signature(build).parameters]
    facts = {"claims": {}, "handed": known, "virtual": "virtual_devices" in known}
    if hasattr(build, "reparametrize"):
        facts["weights"] = True
    return entry_of(name, build, handed=(first, *HANDED), facts=facts)


def first_parameter(build: object) -> str:
    """The first parameter of what makes a norm, which the number of channels is given to; "" where there is none."""
    assert callable(build)
    return next(iter(inspect.signature(build).parameters), "")


def registered(entry: Entry) -> bool:
    """Whether a study can name the norm."""
    return "+" in entry.name or (entry.name in NORMS and NORMS.get(entry.name) is entry)
