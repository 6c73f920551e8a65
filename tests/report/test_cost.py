"""Costs are reported where `normbench cost` measured them, and nowhere else."""

import pandas as pd

from normbench.report.cost import measured_cells, read_cost
from normbench.report.figures import specifications
from normbench.report.tables import cost_grid, csv_text

from .conftest import NOISE, Lab, MakeLab


def measured(lab: Lab, **changes: object) -> pd.DataFrame:
    """cost.csv as `normbench cost` leaves it, for a study of norms x batch sizes."""
    cells = lab.evidence().chosen[["batch_size", "norm"]].drop_duplicates()
    rows = cells.assign(baseline="batch", rounds=4, ratio=1.5, low=1.4, high=1.6, samples_per_second=900.0)
    rows = rows.assign(**changes)
    lab.report.mkdir(parents=True, exist_ok=True)
    (lab.report / "cost.csv").write_text(csv_text(rows))
    return rows


def make(make_lab: MakeLab) -> Lab:
    return make_lab(lambda c, s: 0.9 + NOISE[s])


def test_without_the_file_nothing_is_said_of_speed(make_lab: MakeLab) -> None:
    lab = make(make_lab)
    lab.write()
    evidence = lab.evidence()
    assert "cost" not in specifications(evidence)
    grid = cost_grid(evidence)
    assert {row[-1].text for _, row in grid.rows} == {"not measured"}
    assert f"normbench cost {lab.study.name} measures it" in grid.footnote
    assert not (lab.report / "figures" / "cost.svg").exists()


def test_measured_ratios_are_shown_with_their_intervals(make_lab: MakeLab) -> None:
    lab = make(make_lab)
    rows = measured(lab)
    names = {path.name for path in lab.write()}
    assert {"cost.svg", "cost.png", "cost.csv"} <= names
    assert len(read_cost(lab.report)) == len(rows)
    assert "1.50 (1.40 to 1.60)" in (lab.report / "comparison.md").read_text()
    drawn = pd.read_csv(lab.report / "figures" / "cost.csv")
    assert len(drawn) == len(rows)


def test_a_file_of_other_axes_or_broken_counts_as_none(make_lab: MakeLab) -> None:
    lab = make(make_lab)
    evidence = lab.evidence()
    assert measured_cells(evidence) is None
    rows = measured(lab).rename(columns={"norm": "layout"})
    (lab.report / "cost.csv").write_text(csv_text(rows))
    lab.write("figures")
    assert not (lab.report / "figures" / "cost.svg").exists()
    (lab.report / "cost.csv").write_bytes(b"\xff\xfe nothing")
    assert read_cost(lab.report) is None
