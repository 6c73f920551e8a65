"""YAML means what it looks like."""

from math import inf
from pathlib import Path
from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.spec import parse_yaml, read_yaml, yaml_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("off", "on", "no", "yes", "y", "n", "Off", "NO")),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("1:32", "1:32"),
        ("1:2:3", "1:2:3"),
        ("2026-11-25", "2026-11-25"),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("1.0", 1.0),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0x10", 16),
        ("0o17", 15),
        (".inf", inf),
        ("'010'", "010"),
        ('"1e-3"', "1e-3"),
        ("20261125091812345678", 20261125091812345678),
        ("[a, 1, {b: off}]", ["a", 1, {"b": "off"}]),
    ],
)
def test_a_scalar_is_what_it_looks_like(text: str, value: Any) -> None:
    found = parse_yaml(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["010", "0100", "02", "007", "-01", "{a: 010}", "[001, 010]"])
def test_a_number_with_a_leading_zero_must_be_quoted(text: str) -> None:
    with pytest.raises(UsageError, match=r"^here.*can be read in two ways: write -?\d+, or quote it$"):
        parse_yaml(text, "here")


@pytest.mark.parametrize(
    ("text", "number"),
    [("{2_16: 1}", "216"), ("1_000", "1000"), ("1_0.5", "10.5"), ("0b10", "2"), ("0_", "0"), ("0x1_0", "0x10")],
)
def test_what_yaml_1_1_alone_reads_as_a_number_must_be_quoted(text: str, number: str) -> None:
    with pytest.raises(UsageError, match=rf"can be read in two ways: write {number}, or quote it$"):
        parse_yaml(text, "here")
    assert parse_yaml("['2_16', a_1, 1_a, 0o17, 0x1f]", "here") == ["2_16", "a_1", "1_a", 15, 31]


def test_a_list_that_holds_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="here: an alias stands for something that it is part of"):
        parse_yaml("a: &a [1, {b: *a}]", "here")
    assert parse_yaml("[&a [1], *a, {b: *a}]", "here") == [[1], [1], {"b": [1]}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: {lr: 0.01}, name: sgd}", {"lr": 0.01, "name": "sgd"}),
        ("{<<: {lr: 0.01, name: adam}, name: sgd}", {"lr": 0.01, "name": "sgd"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("{<<: [{a: 1}, {a: 2, b: 3}]}", {"a": 1, "b": 3}),
    ],
)
def test_merge_keys(text: str, value: Any) -> None:
    assert parse_yaml(text, "here") == value


@pytest.mark.parametrize(
    "text", ["{a: 1, a: 2}", "{<<: {b: 1}, a: 2, a: 3}", "x:\n  a: 1\n  a: 2", "{[1]: 2, a: 1, a: 2}"]
)
def test_a_key_given_twice_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="'a' is given twice: keep one"):
        parse_yaml(text, "here")


@pytest.mark.parametrize(
    "text", ["a: b: c", "[1, 2", "!!python/object:os.system x", "--- a\n--- b", "=", "\t- a", "{a: *b}"]
)
def test_what_is_no_yaml_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^here") as caught:
        parse_yaml(text, "here")
    assert "\n" not in str(caught.value)


NASTY = [
    "off",
    "2_16",
    "0b1",
    "no",
    "1:32",
    "010",
    "1e-3",
    "null",
    "",
    "x: y",
    "- a",
    "é",
    "#x",
    "a#b",
    " pad",
    "@x",
    "`",
    "1",
    "1.5",
]
NASTY += [
    "~",
    "=",
    "<<",
    "a\nb",
    "2026-11-25",
    "true",
    "0x1",
    "'",
    '"',
    "a: ",
    "[",
    "{",
    "%a",
    "\u2028",
    "\x07",
    "-",
    "?",
    ":x",
    ":5",
    ":-",
    "?x",
]


@pytest.mark.parametrize(
    "value", [*NASTY, 1, 1.5, 1e-3, 1e22, inf, True, None, [], {}, ["a", [1]], {"off": {"010": 1}}]
)
def test_what_is_written_is_read_back(value: Any) -> None:
    tree = {"key": value, "list": [value]}
    assert parse_yaml(yaml_text(tree), "here") == tree


def test_texts_that_are_keys_are_read_back() -> None:
    tree = dict.fromkeys(NASTY, 1)
    assert parse_yaml(yaml_text(tree), "here") == tree
    for text in NASTY:
        assert parse_yaml(yaml_text({text: text}), "here") == {text: text}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- 1\n", "not list"),
        (b"", "not empty"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"a: 1\nb: [\n", "line"),
    ],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        read_yaml(path, "study")
    assert str(path) in str(caught.value)


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no study at .*nowhere.yaml: check the path"):
        read_yaml(tmp_path / "nowhere.yaml", "study")


def test_escaped_for_a_terminal_that_lacks_a_character_it_is_the_same() -> None:
    tree = {"größe": ["≥ 32", "字", "\U0001f600", "plain"], "Zürich/√2": "a: ü"}
    text = yaml_text(tree, unicode=False)
    assert text.isascii()
    assert parse_yaml(text, "") == tree


@pytest.mark.parametrize("line", ["%YAML 1.1", "%YAML  1.3", "%YAML 2.0", "%YAML 1.1 # of old"])
def test_another_version_of_yaml_is_refused_and_changes_nothing_that_is_read_later(line: str) -> None:
    """The library took the old rules over for good: `off` was false in every file after one that asked for them."""
    with pytest.raises(UsageError, match=r"^here: %YAML .*read as YAML 1.2: take that line away"):
        parse_yaml(f"{line}\n---\na: off\n", "here")
    assert parse_yaml("%YAML 1.2\n---\na: off\nb: 1:32\n", "here") == {"a": "off", "b": "1:32"}
    assert parse_yaml("'%YAML 1.1'", "here") == "%YAML 1.1"


@pytest.mark.parametrize("text", ["a: !!bool maybe", "a: !!int x", "[" * 3000, "{a: " * 3000])
def test_what_cannot_be_read_begins_with_its_place(text: str) -> None:
    with pytest.raises(UsageError, match=r"^here: "):
        parse_yaml(text, "here")
