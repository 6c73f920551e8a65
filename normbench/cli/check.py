"""`normbench norms check`: the contract, tried on a registered norm or on anybody's layer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from normbench.cli.tables import print_table
from normbench.errors import UsageError

if TYPE_CHECKING:
    from normbench.norms.check import Finding
    from normbench.spec.registry import Entry

OPTIONS = "model.norm_options."


def add_check(norms: argparse.ArgumentParser) -> None:
    """Adds `check` to the parser of `normbench norms`."""
    text = "try whether a norm keeps the contract, and print what was found"
    sub = norms.add_subparsers(metavar="check SUBJECT").add_parser("check", help=text, description=text)
    sub.set_defaults(command=_check)
    sub.add_argument("--debug", action="store_true", help="show tracebacks")
    add_subject(sub)
    sub.add_argument("--all", action="store_true", help="also try two processes (gloo) and torch.compile: minutes")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=f"an option: {OPTIONS}groups=4")


def add_subject(sub: argparse.ArgumentParser) -> None:
    """Adds what names a norm."""
    sub.add_argument("norm", help="a registered norm, or FILE.py:NAME of a class or a function that makes one")
    sub.add_argument("--plugins", action="append", default=[], metavar="FILE", help="a Python file that registers more")


def _check(options: argparse.Namespace) -> int:
    from normbench.norms.check import check, holds

    entry, chosen = subject(options), norm_options(options.set)
    findings = check(entry, chosen)
    if options.all:
        from normbench.norms.outside import check_outside

        findings += check_outside(entry, chosen)
    print_findings(entry, findings)
    return 0 if holds(findings) else 1


def subject(options: argparse.Namespace) -> Entry:
    """The norm that a command line names."""
    from normbench.norms.subject import named_norm
    from normbench.spec import load_plugins

    load_plugins(tuple(options.plugins))
    return named_norm(options.norm)


def norm_options(texts: Sequence[str]) -> dict[str, Any]:
    """The options of a norm that `--set` gives. Raises UsageError for any other key."""
    from normbench.cli.arguments import set_options

    found = set_options(texts)
    for key in found:
        if not key.startswith(OPTIONS):
            raise UsageError(f"--set {key}: a check knows the norm's own options alone: {OPTIONS}NAME=VALUE")
    return {key.removeprefix(OPTIONS): value for key, value in found.items()}


def print_findings(entry: Entry, findings: Sequence[Finding]) -> None:
    """The table of a check, and one line that says what it comes to."""
    marks = {True: "yes", False: "NO", None: ""}
    rows = [[finding.subject, marks[finding.holds], finding.told] for finding in findings]
    print_table(f"norm {entry.name}", ["", "holds", "what was found"], rows)
    print(verdict(entry, findings))


def verdict(entry: Entry, findings: Sequence[Finding]) -> str:
    """One line: the contract holds, or where it does not."""
    broken = [finding.subject for finding in findings if finding.holds is False]
    kept = sum(finding.holds is True for finding in findings)
    if broken:
        return f"norm '{entry.name}' breaks the contract: {', '.join(broken)}"
    return f"norm '{entry.name}' keeps the contract, in {kept} points"
