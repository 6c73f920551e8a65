import re
import sys

import pytest

from normbench.cli.tables import print_table

HEADINGS = ["norm", "values", "where it is defined", "options"]
ROWS = [["batch", "6,272", "batch.py", "eps=1e-05\nmomentum=0.1"], ["layer", "12,544", "group.py", "eps=1e-05"]]


def test_every_column_stands_where_there_is_room(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("norms", HEADINGS, ROWS, right=["values"])
    said = capsys.readouterr().out
    assert "left out" not in said
    assert all(word in said for row in [HEADINGS, *ROWS] for cell in row for word in cell.split("\n"))
    heading, first, second = (
        next(line for line in said.splitlines() if word in line) for word in ("norm ", "6,2", "12,5")
    )
    assert first.index("6,272") + 5 == second.index("12,544") + 6 == heading.index("values") + 6, "numbers stand right"


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("columns", [30, 40, 60])
def test_words_and_numbers_stay_whole_on_a_narrow_terminal(
    lines: bool, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True)
    print_table("norms", HEADINGS, ROWS, lines=lines)
    *table, last = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    left = [heading for heading in HEADINGS if heading in last] if last.startswith("left out") else []
    kept = [i for i, heading in enumerate(HEADINGS) if heading not in left]
    assert max(map(len, table)) <= columns
    assert "…" not in "".join(table)
    words = [word for row in ROWS for i in kept for word in row[i].split()]
    assert all(any(word in line for line in table) for word in words)
    assert bool(left) == (columns < 60)
    if left:
        assert last == f"left out, since the terminal has {columns} columns: {', '.join(left)}"
