"""What can be named in a configuration: norms, models, data sets, optimizers, probes, callbacks.

Each registered builder declares its own options by its signature; YAML keys, help, errors and identity follow from
it. A registry knows its own room by name alone and imports it when something is first looked up, as it would a
plug-in.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from normbench.errors import UsageError, unknown
from normbench.spec.values import checked

REQUIRED: Any = inspect.Parameter.empty  # the default of an option that must be given


@dataclass(frozen=True)
class Option:
    """One option of a builder: its type, its default (or REQUIRED) and what its docstring says of it."""

    name: str
    hint: Any
    default: Any = REQUIRED
    help: str = ""


@dataclass(frozen=True)
class Entry:
    """One registered thing.

    Args:
        name: Its name in a configuration.
        build: Makes it: a class or a function.
        options: The options that a configuration can set, by name.
        summary: First line of its docstring.
        source: The file that defines it; "" for what no file does.
        facts: What its kind needs besides: for a model, its layers; for a norm, its claims.
    """

    name: str
    build: Callable[..., Any]
    options: Mapping[str, Option] = field(default_factory=dict)
    summary: str = ""
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, given: Mapping[str, Any], key: str) -> dict[str, Any]:
        """All options with their values: those `given`, checked, and the defaults of the others.

        Args:
            given: Options by name.
            key: Dotted key of the section, for errors: `model.norm_options`.
        """
        for name in given:
            if name not in self.options:
                takes = unknown("option", name, self.options) if self.options else "it takes no options"
                raise UsageError(f"{key}.{name}: '{self.name}' has no such option; {takes}")
        values: dict[str, Any] = {}
        for name, option in self.options.items():
            if name in given:
                values[name] = checked(given[name], option.hint, f"{key}.{name}")
            elif option.default is REQUIRED:
                raise UsageError(f"{key}.{name}: '{self.name}' needs this option")
            else:
                values[name] = list(option.default) if isinstance(option.default, tuple) else option.default
        return values


class Deferred:
    """A builder that is imported when it is first called."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def load(self) -> Any:
        """The class or function itself."""
        return getattr(import_module(self.module), self.name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.load()(*args, **options)


class Registry:
    """All things of one kind, by name.

    Args:
        kind: What a user calls one of them: "norm".
        key: The configuration's key that names one: "model.norm".
        room: The module that registers the built-in ones when it is imported.
    """

    def __init__(self, kind: str, key: str, room: str) -> None:
        self.kind, self.key, self.room = kind, key, room
        self._entries: dict[str, Entry] = {}
        self.aliases: dict[str, str] = {}  # what people write, and the registered name; a user's own entry goes first
        self.compound: Callable[[str], Entry] | None = None  # makes the entry of names joined by `+`, where there are
        self._loaded = False

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            import_module(self.room)

    def add(self, entry: Entry, replace: bool = False) -> None:
        """Registers `entry`. A name that another file has taken raises UsageError."""
        # Whatever module made the builder (functools, say): the plug-in decides what it is. A plug-in that is the first
        # to import a room of the package does not thereby define what that registers.
        if _importing and not entry.source.startswith(_PACKAGE):
            entry = dataclasses.replace(entry, source=_importing[-1])
        old = self._entries.get(entry.name)
        if old is not None and not replace and old.source != entry.source:
            raise UsageError(
                f"{self.kind} '{entry.name}' is registered already by {Path(old.source).name}: choose another name"
            )
        self._entries[entry.name] = entry

    def get(self, name: str) -> Entry:
        """The entry of that name; an unknown one raises UsageError with the nearest and all known ones."""
        self._load()
        if self.compound is not None and "+" in name and name not in self._entries:
            return self.compound(name)
        try:
            return self._entries[name if name in self._entries else self.aliases.get(name, name)]
        except KeyError:
            own = "name its file under `plugins` and it by its registered name; " if ".py" in name else ""
            raise UsageError(f"{self.key}: {own}{unknown(self.kind, name, self._entries)}") from None

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(list(self._entries))

    def remove(self, name: str) -> None:
        """Forgets an entry (for tests)."""
        del self._entries[name]


_importing: list[str] = []
_PACKAGE = str(Path(__file__).resolve().parent.parent)


@contextmanager
def importing(file: str) -> Iterator[None]:
    """What is registered inside is defined by `file`, a plug-in.

    The built-in things are registered before: their rooms, which a plug-in may be the first to import, are not its own.
    """
    for registry in (NORMS, MODELS, DATASETS, OPTIMIZERS, PROBES, CALLBACKS):
        registry._load()
    _importing.append(file)
    try:
        yield
    finally:
        _importing.pop()


NORMS = Registry("norm", "model.norm", "normbench.norms")
MODELS = Registry("model", "model.name", "normbench.models")
DATASETS = Registry("data set", "data.name", "normbench.data")
OPTIMIZERS = Registry("optimizer", "optimizer.name", "normbench.train.optimizers")
PROBES = Registry("probe", "probes", "normbench.probes")
CALLBACKS = Registry("callback", "trainer.callbacks", "normbench.train.callbacks")


def entry_of(
    name: str,
    build: Callable[..., Any],
    *,
    handed: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Entry:
    """The entry of a builder, its options read from its signature and docstring.

    Args:
        name: Its name in a configuration.
        build: A class or a function. Parameters named in `handed`, and *args and **kwargs, are no options.
        handed: Names of parameters that the framework fills in.
        defaults: Default values of options over those of the signature.
        facts: See `Entry`.
    """
    call = build.__init__ if inspect.isclass(build) else build
    hints = field_hints(build) if dataclasses.is_dataclass(build) else option_hints(call)
    helps = argument_helps(inspect.getdoc(build) or "") | argument_helps(inspect.getdoc(call) or "")
    options: dict[str, Option] = {}
    for parameter in inspect.signature(build).parameters.values():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if variable or parameter.name in handed:
            continue
        default = (defaults or {}).get(parameter.name, parameter.default)
        hint = hints.get(parameter.name, Any)
        options[parameter.name] = Option(parameter.name, hint, default, helps.get(parameter.name, ""))
    summary = (inspect.getdoc(build) or "").partition("\n")[0]
    return Entry(name, build, options, summary, source_file(build), dict(facts or {}))


def option_hints(call: Callable[..., Any]) -> dict[str, Any]:
    """Types of a function's parameters, without those that do not evaluate (names known to checkers only)."""
    try:
        return typing.get_type_hints(call, include_extras=True)
    except Exception:
        hints = {}
    for name, annotation in getattr(call, "__annotations__", {}).items():
        hints[name] = _evaluated(annotation, getattr(call, "__globals__", {}))
    return hints


def field_hints(build: type) -> dict[str, Any]:
    """Types of a dataclass's fields. Those that it inherits are read with the names of the module that has them."""
    hints = {}
    for owner in reversed(build.__mro__):
        known = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
        for name, annotation in vars(owner).get("__annotations__", {}).items():
            hints[name] = _evaluated(annotation, known)
    return hints


def _evaluated(annotation: Any, known: Mapping[str, Any]) -> Any:
    try:
        # The builder's own code, which was run when it was imported.
        return eval(annotation, {**vars(typing), **known}) if isinstance(annotation, str) else annotation
    except Exception:
        return Any


def source_file(build: Any) -> str:
    """The file that defines a builder, or "" where there is none (a notebook, say)."""
    module = sys.modules.get(getattr(build, "__module__", ""), None)
    return str(getattr(module, "__file__", "") or "")


def argument_helps(doc: str) -> dict[str, str]:
    """Text of each argument in the `Args:` part of a docstring."""
    _, _, rest = doc.partition("\nArgs:\n")
    found: dict[str, str] = {}
    name, indent = "", None
    for line in rest.splitlines():
        if not line.strip():
            break
        width = len(line) - len(line.lstrip())
        indent = width if indent is None else indent
        if width < indent:
            break
        match = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line.strip())
        if width == indent and match:
            name = match[1]
            found[name] = match[2]
        elif name:
            found[name] += " " + line.strip()
    return found
