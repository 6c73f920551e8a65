"""The command line of one run: `--data.batch_size 32` means what `data: {batch_size: 32}` means in a file."""

from __future__ import annotations

import csv
import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from normbench.errors import UsageError
from normbench.spec import RunConfig, parse_yaml, read_yaml, replace, typed
from normbench.spec.keys import BUILDERS, key_hint
from normbench.spec.registry import NORMS, REQUIRED, Entry, argument_helps
from normbench.spec.schema import SECTIONS, TOP, hints
from normbench.spec.values import at_home, checked, expected, shown_value


@dataclass
class Arguments:
    """What a command line asks for besides the configuration."""

    folder: str | None = None
    runs: str = "runs"
    debug: bool = False
    help: bool = False
    print_config: bool = False


_FLAGS = {name.name for name in fields(Arguments) if name.type == "bool"}


def parse_run(argv: Sequence[str]) -> tuple[RunConfig, Arguments]:
    """The configuration that a command line asks for, and its other options. Raises UsageError naming the key.

    `--config FILE` may be given several times, between other options; what comes later wins.
    """
    config, arguments = RunConfig(), Arguments()
    for key, text in _pairs(argv):
        if key in {"folder", "runs"}:
            setattr(arguments, key, _text(key, text))
        elif key in _FLAGS:
            setattr(arguments, key, text is None or checked(parse_yaml(text, f"--{key}"), bool, f"--{key}"))
        elif key == "config":
            path = at_home(_text(key, text), "--config")
            config = replace(config, typed(_loaded(read_yaml(path, "configuration")), str(path)))
        else:
            config = replace(config, typed(_loaded({key: command_line_value(key, _text(key, text))})))
    return config, arguments


def _loaded(changes: dict[str, Any]) -> dict[str, Any]:
    """`changes`, their plug-ins imported first, so that what they register has its keys."""
    from normbench.spec import load_plugins

    plugins = changes.get("plugins")
    if isinstance(plugins, list) and all(isinstance(path, str) for path in plugins):
        load_plugins(tuple(plugins))
    return changes


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Options with their values: `--key value`, `--key=value`, or a flag alone."""
    words = iter(argv)
    for word in words:
        if not word.startswith("--") or word == "--":
            if word == "-h":
                yield "help", None
                continue
            raise UsageError(f"'{word}' is not an option: write --key value, for example --data.batch_size 32")
        key, equals, text = word[2:].partition("=")
        if equals:
            yield key, text
        else:
            yield key, None if key in _FLAGS else next(words, None)


def _text(key: str, text: str | None) -> str:
    if text is None:
        raise UsageError(f"--{key} needs a value")
    return text


def command_line_value(key: str, text: str) -> Any:
    """The value of a key as its text says, read as YAML unless the key takes text only."""
    hint = key_hint(key)
    parts = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    union = typing.get_origin(parts[0]) in (types.UnionType, typing.Union)
    kinds = set(typing.get_args(parts[0])) if union else {parts[0]}
    if kinds <= {str, type(None)}:
        return None if text == "null" and type(None) in kinds else text
    value = parse_yaml(text, f"--{key}")
    return [value] if parts[0] == list[str] and isinstance(value, str) else value


def set_options(texts: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts, as `--set` takes them, as dotted keys with values."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set '{text}': write key=value, for example --set budget.samples=500")
        found[key] = command_line_value(key, value)
    return found


def only_options(texts: Sequence[str], axes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """`axis=label,label` texts, as `--only` takes them; an axis that comes again gets more labels.

    What follows the axis may be one label as it stands, whatever it holds; or several, in quotes where one has a comma.

    Args:
        texts: As given.
        axes: The labels of each axis, as text. Names may hold `=`: the longest that a text begins with is meant.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        named = [axis for axis in axes if text.startswith(f"{axis}=")]
        axis = max(named, key=len) if named else text.partition("=")[0]
        if axis == text:
            raise UsageError(f"--only '{text}': write axis=label,label, for example --only model.norm=batch,group")
        rest = text[len(axis) + 1 :]
        labels = [rest] if rest in axes.get(axis, ()) else next(csv.reader([rest], skipinitialspace=True), [""])
        found.setdefault(axis, []).extend(label if label in axes.get(axis, ()) else label.strip() for label in labels)
    return found


USAGE = """usage: normbench train [--config FILE] [--KEY VALUE ...] [--folder FOLDER | --runs RUNS]

Train, validate and test one run; writes RUNS/<run id>/ unless --folder is given.

  --config FILE    YAML file with any of the keys below; what comes later on the command line wins
  --folder FOLDER  run folder to write
  --runs RUNS      folder of all run folders (default: runs)
  --print_config   print the configuration with every value, as YAML that --config reads, and stop
  --debug          show tracebacks
"""


def help_text() -> str:
    """Every key with its type, default and meaning, and the options of everything that is registered."""
    lines = [USAGE]
    for section, kind in SECTIONS.items():
        doc = inspect.getdoc(kind) or ""
        helps, defaults = argument_helps(doc), kind()
        lines.append(f"{section}: {doc.partition(chr(10))[0]}")
        for name, hint in hints(section).items():
            lines += _item(f"--{section}.{name}", hint, getattr(defaults, name), helps.get(name, ""))
        lines.append("")
        if section in BUILDERS:
            for name in BUILDERS[section]:
                lines += _entry_lines(f"{section}.name={name}", section, BUILDERS[section].get(name))
        if section == "model":
            for name in NORMS:
                lines += _entry_lines(f"model.norm={name}", "model.norm_options", NORMS.get(name))
    helps = argument_helps(inspect.getdoc(RunConfig) or "")
    defaults = RunConfig()
    for name in TOP:
        lines += _item(f"--{name}", key_hint(name), getattr(defaults, name), helps[name])
    return "\n".join(lines)


def _entry_lines(title: str, key: str, entry: Entry) -> list[str]:
    if not entry.options:
        return []
    lines = [f"  with {title}:"]
    for option in entry.options.values():
        lines += _item(f"--{key}.{option.name}", option.hint, option.default, option.help)
    return [*lines, ""]


def _item(flag: str, hint: Any, default: Any, text: str) -> list[str]:
    width = min(100, shutil.get_terminal_size().columns)
    value = "required" if default is REQUIRED else f"default: {shown_value(default)}"
    what = f"{text} ({expected(hint)}; {value})".strip()
    return [f"  {flag}", *textwrap.wrap(what, width, initial_indent=" " * 6, subsequent_indent=" " * 6)]
