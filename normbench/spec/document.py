"""YAML 1.2: one reading for studies, configurations and values on the command line.

In YAML 1.1, which most Python programs read, `off` is false, `010` is 8 and `1:32` is 92. Here they are what they
look like: text, an error that asks for quotes, and text.
"""

from __future__ import annotations

import re
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from normbench.errors import UsageError

# `010` is 10 in YAML 1.2 and 8 in 1.1, `2_16` is text and 216, `0b10` text and 2: whoever wrote it must say which.
_TWO_WAYS = re.compile(r"[-+]?(?:0[0-9_]+|0b[01_]+|[0-9.][0-9a-fA-FxoeE.+-]*_[0-9a-fA-F_.eE+-]*)")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
# The library would change to the rules of that version, for this text and for all that is read after it.
_OTHER_VERSION = re.compile(r"^%YAML[ \t]+(?!1\.2\s*(?:#|$)).*$", re.MULTILINE)


@cache
def _reader() -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import ConstructorError, SafeConstructor
    from ruamel.yaml.nodes import ScalarNode

    class Constructor(SafeConstructor):
        """YAML 1.2's core schema, with `1e-3` a number, `010` and `2_16` refused."""

        def construct_scalar(self, node: Any) -> Any:
            text = super().construct_scalar(node)
            number = isinstance(node, ScalarNode) and node.style is None and node.tag in _NUMBERS
            if number and _TWO_WAYS.fullmatch(str(text)):
                problem = f"{text} can be read in two ways: write {_one_way(str(text))}, or quote it"
                raise ConstructorError(None, None, problem, node.start_mark)
            return text

        def construct_plain(self, node: Any) -> Any:
            text = self.construct_scalar(node)
            if node.style is None and _FLOAT.fullmatch(str(text)) and not _WHOLE.fullmatch(str(text)):
                return float(text)
            return text

        def flatten_mapping(self, node: Any) -> Any:
            # Here, since the library looks for repeated keys after merging, when an override looks like one.
            seen = set()
            for key, _ in node.value:
                if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, ScalarNode):
                    if key.value in seen:
                        problem = f"'{key.value}' is given twice: keep one"
                        raise ConstructorError(None, None, problem, key.start_mark)
                    seen.add(key.value)
            return super().flatten_mapping(node)

    Constructor.add_constructor("tag:yaml.org,2002:str", Constructor.construct_plain)
    Constructor.add_constructor("tag:yaml.org,2002:timestamp", Constructor.construct_plain)  # a date is its text
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = Constructor
    reader.version = (1, 2)
    return reader


def _one_way(text: str) -> str:
    plain = text.replace("_", "")
    try:
        return str(int(plain, 2 if "0b" in plain else 10))
    except ValueError:
        return plain


def parse_yaml(text: str, where: str) -> Any:
    """The value of YAML text. Raises UsageError that begins with `where` and names the line.

    Example:
        >>> parse_yaml("{wandb: off, lr: 1e-3, layout: 1:32}", "here")
        {'wandb': 'off', 'lr': 0.001, 'layout': '1:32'}
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if other := _OTHER_VERSION.search(text):
        raise UsageError(f"{where}: {other[0].strip()}: this is read as YAML 1.2: take that line away")
    try:
        tree = _reader().load(StringIO(text))
        if "*" in text:
            _refuse_loops(tree, ())
        return tree
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""
        problem = " ".join((error.problem or str(error)).split())
        raise UsageError(f"{where}{line}: {problem}") from None
    except (YAMLError, ValueError) as error:
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from None
    except LookupError as error:
        raise UsageError(f"{where}: {error} is not what its tag says") from None
    except RecursionError:
        raise UsageError(f"{where}: it is nested too deeply") from None


def _refuse_loops(tree: Any, inside: tuple[int, ...]) -> None:
    if id(tree) in inside:
        raise ValueError("an alias stands for something that it is part of")
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        _refuse_loops(part, (*inside, id(tree)))


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """A YAML mapping read from `path`. A key given twice, or anything but a mapping, raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no {what} at {path}: check the path") from None
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {what} {path}: it is not text in UTF-8") from None
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        kind = "empty" if tree is None else type(tree).__name__
        raise UsageError(f"{path}: a {what} is a mapping of keys to values, not {kind}")
    return tree


def yaml_text(tree: Any, unicode: bool = True) -> str:
    """`tree` as YAML that `parse_yaml` reads back to an equal value.

    Args:
        tree: Mappings, lists, texts, numbers, truth values and nulls.
        unicode: Write characters outside of ASCII as they are, not as escapes.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        """Quotes every text that would be read back as something else."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(representer: Any, data: str) -> Any:
        plain = _reads_as_text(data)
        return representer.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')

    def number(representer: Any, data: float) -> Any:
        special = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}
        shown = special.get(repr(data), repr(data))
        return representer.represent_scalar("tag:yaml.org,2002:float", shown)

    Representer.add_representer(str, text)
    Representer.add_representer(float, number)
    writer = YAML(typ="safe", pure=True)
    writer.Representer = Representer
    writer.default_flow_style = None
    setattr(writer, "sort_base_mapping_type_on_output", False)  # noqa: B010  (its type says None)
    writer.width = 110
    writer.allow_unicode = unicode
    stream = StringIO()
    writer.dump(tree, stream)
    return stream.getvalue()


# What programs that read YAML 1.1 take for a truth value is quoted for them.
_OLD_BOOLEANS = {"y", "n", "yes", "no", "on", "off"}


def _reads_as_text(data: str) -> bool:
    if data.lower() in _OLD_BOOLEANS or re.match(r"[-+]?[0-9]", data):
        return False
    if not data or data != data.strip() or not data.isprintable():
        return False
    try:
        alone, pair = parse_yaml(f"[{data}]", ""), parse_yaml(f"{{{data}: {data}}}", "")
    except UsageError:
        return False
    return bool(alone == [data] and pair == {data: data})
