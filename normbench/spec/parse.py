"""Typed reading of a run's configuration: from the command line, a file, or dotted keys of a study."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from normbench.errors import UsageError
from normbench.spec.schema import SECTIONS, RunConfig, check_key, flatten, from_dict, known_keys, load_yaml


@cache
def train_parser() -> ArgumentParser:
    """The parser of `normbench train`, made from the dataclasses of config.py."""
    parser = ArgumentParser(
        prog="normbench train",
        description="Train, validate and test one run; writes RUNS/single/<run id>/ unless --folder is given.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below; later options win.")
    parser.add_argument("--folder", type=str, default=None, help="Run folder to write.")
    parser.add_argument("--runs", type=str, default="runs", help="Folder of all run folders.")
    parser.add_argument("--debug", action="store_true", help="Show tracebacks.")
    parser.add_class_arguments(RunConfig, None)
    return parser


def parse_train(argv: Sequence[str]) -> tuple[RunConfig, Namespace]:
    """The run that a command line asks for, and the parsed options. Raises UsageError naming the key."""
    for index, word in enumerate(argv):
        key, _, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or key in {"config", "folder", "runs", "debug", "help", "print_config"}:
            if index and argv[index - 1] == "--config":
                _check_file(Path(word))
            continue
        if key == "" or (key.startswith("print_config")):
            continue
        check_key(key)
    for word in argv:
        if word.startswith("--config="):
            _check_file(Path(word.partition("=")[2]))
    parser = train_parser()
    try:
        options = parser.parse_args(list(argv))
    except ArgumentError as error:
        raise UsageError(_one_line(error)) from None
    tree = options.as_dict()
    return from_dict({key: tree[key] for key in (*SECTIONS, "seed", "plugins")}), options


def _check_file(path: Path) -> None:
    for key, _ in flatten(load_yaml(path, "configuration")):
        check_key(key)


def typed(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Dotted keys with their values checked against the configuration's types.

    Args:
        values: For example {"optimizer.lr": "1e-3"}; a section may be given as a nested mapping.
        where: What an error begins with, for example the path of a study.
    """
    flat: dict[str, Any] = {}
    for key, value in flatten(values):
        if key in SECTIONS and not isinstance(value, Mapping):
            raise UsageError(f"{where}: {key} is a section of keys, not {value!r}")
        try:
            check_key(key)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        flat[key] = value
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    try:
        parsed = train_parser().parse_object(tree).as_dict()
    except ArgumentError as error:
        raise UsageError(f"{where}: {_one_line(error)}") from None
    result = {}
    for key in flat:
        branch = parsed
        for part in key.split("."):
            branch = branch[part]
        result[key] = branch
    return result


def _one_line(error: Exception) -> str:
    """jsonargparse's message as one line that says what was expected and what is near."""
    text = str(error)
    key_match = re.search(r'key "([\w.]+)"', text)
    value_match = re.search(r"(?:Got value|Given value): (.*)", text)
    if key_match and value_match and (kind := known_keys().get(key_match[1])) is not None:
        key, value = key_match[1], value_match[1].strip()
        choices = _choices(kind)
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{key}={value}: expected {_expected(kind)}{hint}"
    return " ".join(text.split())


def _choices(kind: Any) -> list[str]:
    if typing.get_origin(kind) is Literal:
        return [str(choice) for choice in typing.get_args(kind)]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return [choice for part in typing.get_args(kind) for choice in _choices(part)]
    return []


def _expected(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join(_expected(part) for part in typing.get_args(kind) if part is not type(None))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if typing.get_origin(kind) is list:
        return "a list"
    return names.get(kind, "a mapping" if typing.get_origin(kind) is dict else str(kind))
