"""Grids as LaTeX."""

from __future__ import annotations

from normbench.report.tables.grid import Grid

_TEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": r"$-$",
        "≥": r"$\geq$",
        "†": r"$\dagger$",
        "—": "---",
        "<": r"$<$",
        ">": r"$>$",
    }
)
MARKS = {"best": r"\textbf{{{}}}", "tied": r"{}$^\dagger$", "": "{}"}


def escaped(text: str) -> str:
    """Text that LaTeX shows as it is; at the start of a row, `[` and `*` would be an argument of the line break."""
    found = text.translate(_TEX)
    return f"{{{found[0]}}}{found[1:]}" if found[:1] in ("[", "*") else found


def latex(grid: Grid) -> str:
    """A grid as a LaTeX table; needs the package booktabs."""
    body = [
        " & ".join([escaped(name), *(MARKS[c.mark].format(escaped(c.text)) for c in row)]) + r" \\"
        for name, row in grid.rows
    ]
    sides = "".join("l" if column in grid.words else "r" for column in grid.columns)
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(grid.title)}. {escaped(grid.footnote)}}}",
        rf"\begin{{tabular}}{{l{sides}}}",
        r"\toprule",
        " & ".join(["", *map(escaped, grid.columns)]) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
