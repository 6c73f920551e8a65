"""Figures compile without a warning; a norm looks the same in all of them, and colour-blind readers see which."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert

from normbench.report.contrasts import Contrast, declared_contrasts
from normbench.report.figures import contrasts, drawn_figures, interaction, precise, registry, specifications
from normbench.report.figures.differences import MAX_ROWS
from normbench.report.figures.frames import MAX_FACETS, Shown, log_axis
from normbench.report.figures.learning_curves import AXES
from normbench.report.figures.style import NORM_STYLE, PANEL, specification, still, styles
from normbench.report.tables import read_csv
from normbench.study.metrics import get_metric

from .conftest import NOISE, Lab, MakeLab

Spec = dict[str, Any]


@pytest.fixture(scope="session")
def specs(written: Lab) -> dict[str, Spec]:
    return specifications(written.evidence())


FIGURES = [
    "test_error_against_batch_size",
    "test_error_against_values_per_statistic",
    "test_error_against_images_per_statistic",
    "differences",
    "divergence",
    "training_loss",
    "validation_error",
    "detectable",
]


def parts(spec: Spec) -> Iterator[Spec]:
    """A specification and everything in it that draws."""
    yield spec
    for inner in [*spec.get("layer", []), *([spec["spec"]] if "spec" in spec else [])]:
        yield from parts(inner)


def encodings(spec: Spec, channel: str) -> list[Spec]:
    return [part["encoding"][channel] for part in parts(spec) if channel in part.get("encoding", {})]


def test_every_figure_is_there(specs: dict[str, Spec], written: Lab) -> None:
    assert list(specs) == FIGURES
    for name in specs:
        svg = (written.report / "figures" / f"{name}.svg").read_text()
        png = (written.report / "figures" / f"{name}.png").read_bytes()
        assert svg.startswith("<svg")
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(png) > 5_000


def test_every_figure_is_valid_vega_lite(written: Lab) -> None:
    """A report leaves out these checks, which raise where a chart is made and where it is written."""
    evidence = written.evidence()
    charts = [figure.chart for draw in registry.FIGURES if (figure := draw(evidence)) is not None]
    assert len(charts) == len(FIGURES)
    for chart in charts:
        chart.to_dict(validate=True)


def test_no_figure_compiles_with_a_warning_or_an_empty_panel(
    specs: dict[str, Spec], capfd: pytest.CaptureFixture[str]
) -> None:
    for name, spec in specs.items():
        svg = vl_convert.vegalite_to_svg(spec, show_warnings=True)
        assert "NaN" not in svg, name
        assert "Infinity" not in svg, name
        panels = len(re.findall(r'class="mark-group role-scope cell"', svg)) or 1
        marks = re.findall(r'class="mark-(?:line|symbol|rect) role-mark[^"]*"[^>]*>(.*?)</g>', svg, re.DOTALL)
        assert sum("<path" in mark for mark in marks) >= panels, name
        for row in itertools.chain.from_iterable(spec["datasets"].values()):
            assert not any(isinstance(value, float) and not math.isfinite(value) for value in row.values())
    assert "WARN" not in "".join(capfd.readouterr())


def test_a_norm_has_one_colour_and_one_marker_everywhere(specs: dict[str, Spec]) -> None:
    seen: dict[str, set[str]] = {}
    for spec in specs.values():
        for scale in (
            e["scale"]
            for channel in ("color", "shape")
            for e in encodings(spec, channel)
            if "range" in e.get("scale", {})
        ):
            for level, value in zip(scale["domain"], scale["range"], strict=True):
                if not isinstance(level, str):  # the shares of the divergence figure
                    continue
                seen.setdefault(level, set()).add(value)
    ends = {"difference found", "equivalence shown"}
    seen = {level: values for level, values in seen.items() if level not in ends}
    assert {level: len(values) for level, values in seen.items()} == {"none": 2, "batch": 2, "group": 2}
    for level, values in seen.items():
        assert values == set(NORM_STYLE[level])


def test_a_norm_keeps_its_style_among_others() -> None:
    few, many = styles(["batch", "group"]), styles(["mine", "group", "other", "batch"])
    assert (few[0][0], few[1][0]) == (many[0][3], many[1][3]) == NORM_STYLE["batch"]
    assert len(set(zip(*many, strict=True))) == 4
    twelve = styles([f"own {i}" for i in range(12)])
    assert len(set(zip(*twelve, strict=True))) == 12


# Machado, Oliveira & Fernandes 2009, A Physiologically-based Model for Simulation of Color Vision Deficiency, at
# severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def cie_lab(color: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of `#rrggbb` as such an eye sees it."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(vision @ linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(NORM_STYLE, 2)))
def test_norms_differ_to_every_eye(one: str, other: str, vision: str) -> None:
    """By 15 units of CIE L*a*b*; about 2 can be seen side by side. Markers differ besides."""
    (a, shape_a), (b, shape_b) = NORM_STYLE[one], NORM_STYLE[other]
    matrix = np.array(VISION[vision])
    assert np.linalg.norm(cie_lab(a, matrix) - cie_lab(b, matrix)) > 15
    assert shape_a != shape_b


def test_axis_titles_carry_units(specs: dict[str, Spec]) -> None:
    def title(name: str, channel: str) -> str:
        return next(e["title"] for e in encodings(specs[name], channel) if e.get("title"))

    assert title("test_error_against_batch_size", "x") == "batch size (images), log scale"
    assert title("test_error_against_batch_size", "y") == "test error (%), log scale"
    assert title("test_error_against_values_per_statistic", "x").startswith("smallest values per statistic (log scale")
    assert "(points; right is better)" in title("differences", "x")
    assert title("training_loss", "x") == "training images seen"
    assert title("training_loss", "y") == "training loss (nats, log scale)"
    assert title("validation_error", "y") == "validation error (%, log scale)"
    assert [axis["title"] for axis in specs["training_loss"]["usermeta"]["axes"]] == list(AXES.values())


def rows_of(spec: Spec) -> list[Spec]:
    return list(itertools.chain.from_iterable(spec["datasets"].values()))


def test_a_chart_has_no_field_that_vega_lite_could_misread(specs: dict[str, Spec]) -> None:
    for spec in specs.values():
        for row in rows_of(spec):
            assert all(re.fullmatch(r"\w+", field) for field in row)


def test_error_is_what_accuracy_leaves(written: Lab, specs: dict[str, Spec]) -> None:
    evidence = written.evidence()
    table = evidence.comparison[evidence.comparison["metric"] == "test_accuracy"].set_index(["norm", "batch_size"])
    rows = [row for row in rows_of(specs["test_error_against_batch_size"]) if row["kind"] == "cell"]
    assert len(rows) == 6
    for row in rows:
        cell = table.loc[(row["factor"], row["axis0"])]
        assert row["mean"] == pytest.approx(100 - 100 * cell["mean"])
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 100


def test_every_run_is_a_faint_point(written: Lab, specs: dict[str, Spec]) -> None:
    survived = written.evidence().runs["test_accuracy"].dropna()
    points = [row["value"] for row in rows_of(specs["test_error_against_batch_size"]) if row["kind"] == "seed"]
    assert sorted(points) == pytest.approx(sorted(100 - 100 * survived))


def test_differences_are_those_of_the_table_with_every_seed(written: Lab, specs: dict[str, Spec]) -> None:
    evidence = written.evidence()
    rows = rows_of(specs["differences"])
    cells = {(row["factor"], row["axis0"]): row for row in rows if row["kind"] == "cell"}
    assert len(cells) == len(evidence.pairs) == 4
    for pair in evidence.pairs.to_dict("records"):
        cell = cells[pair["norm"], pair["batch_size"]]
        assert [cell[k] for k in ("diff", "low", "high")] == pytest.approx(
            [100 * pair[k] for k in ("diff", "low", "high")]
        )
    assert sum(row["kind"] == "seed" for row in rows) == evidence.pairs["pairs"].sum()


def test_headings_of_panels_are_those_of_their_cells(make_lab: MakeLab) -> None:
    """Where combinations are skipped: Vega-Lite once put the rows of one layout under the name of another."""
    sizes = {name: {"data.batch_size": size} for name, size in {"z": 2, "a": 4, "m": 8, "a b": 16}.items()}
    lab = make_lab(
        lambda c, s: 0.9 + NOISE[s * (1 + (c["model.norm"] == "batch"))],
        {"model.norm": ["none", "batch"], "model.dropout": [0.0, 0.5], "size": sizes},
        skip=[{"when": {"model.dropout": 0.5, "size": ["a", "a b"]}, "reason": "skipped"}],
    )
    spec = specifications(lab.evidence())["differences"]
    header = spec["facet"]["row"]["header"]["labelExpr"]
    order = json.loads(header.removesuffix("[datum.value]"))
    assert order == ["z", "a", "m", "a b"]
    for row in rows_of(spec):
        assert order[row["down"]] == row["axis1"]
        assert "sort" not in spec["facet"]["row"]


def test_markers_at_one_place_stand_side_by_side(specs: dict[str, Spec]) -> None:
    rows = rows_of(specs["test_error_against_images_per_statistic"])
    places = [row["x"] for row in rows]
    assert len(set(places)) == len(places)
    assert all(abs(np.log2(row["x"] / row["place"])) < 0.5 for row in rows)


def panels_of(spec: Spec) -> set[str]:
    return {row[PANEL] for rows in spec["datasets"].values() for row in rows if PANEL in row}


def test_more_panels_than_a_page_holds_are_reduced_with_a_note(make_lab: MakeLab) -> None:
    sizes, rates = [2, 4, 8, 16, 32, 64, 128, 160], [round(0.09 * i, 2) for i in range(10)]
    grid = {"model.norm": ["batch", "group"], "model.dropout": rates, "data.batch_size": sizes}
    specs = specifications(
        make_lab(lambda c, s: 0.9 + NOISE[s + (c["model.norm"] == "group")], grid, seeds=2).evidence()
    )
    for name, of in {
        "test_error_against_batch_size": "10 values of dropout",
        "training_loss": "80 values of dropout × batch size",
    }.items():
        assert len(panels_of(specs[name])) == MAX_FACETS
        assert any(f"{MAX_FACETS} of {of}" in line for line in specs[name]["title"]["subtitle"])
    rows = [row for row in rows_of(specs["differences"]) if row["kind"] == "cell"]
    assert 0 < len(rows) <= MAX_ROWS
    assert "4 of 10 values of dropout" in " ".join(specs["differences"]["title"]["subtitle"])


def test_a_curve_averages_over_seeds_alone(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "model.dropout": [0.0, 0.5], "data.batch_size": [8, 32]}
    specs = specifications(make_lab(lambda c, s: 0.9 + c["model.dropout"] / 10, grid, seeds=2).evidence())
    rows = rows_of(specs["training_loss"])
    assert {row["n"] for row in rows} == {2}
    assert panels_of(specs["training_loss"]) == {"0.0, 8", "0.0, 32", "0.5, 8", "0.5, 32"}
    for panel, place in {(row[PANEL], row["place_of_panel"]) for row in rows}:
        assert ["0.0, 8", "0.0, 32", "0.5, 8", "0.5, 32"][place] == panel


def test_a_step_that_was_validated_twice_counts_once_on_all_images(make_lab: MakeLab) -> None:
    """A run that a callback stops may have a point of a part of the images, and then one of all."""
    grid = {"model.norm": ["batch", "group"]}
    lab = make_lab(lambda c, s: 0.9, grid, seeds=2)
    for file in lab.runs.glob("*/metrics.csv"):
        *before, last = file.read_text().splitlines()
        part = last.replace("validation,accuracy,0.9", "validation,accuracy,0.5")
        assert part != last
        file.write_text("\n".join([*before, part, last]) + "\n")
    rows = rows_of(specifications(lab.evidence())["validation_error"])
    assert {row["n"] for row in rows} == {2}
    assert min(row["mean"] for row in rows) == pytest.approx(10.0)


def test_the_learning_rate_map_shows_validation_and_counts_what_diverged(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "optimizer.lr": [0.01, 1.0]}
    lab = make_lab(
        lambda c, s: "diverged" if c["optimizer.lr"] == 1.0 and s else 0.9 + s / 100, grid, {"tuned": "optimizer.lr"}
    )
    specs = specifications(lab.evidence())
    assert {"learning_rates", "learning_rate_sensitivity", "divergence"} <= specs.keys()
    rows = rows_of(specs["learning_rates"])
    shown = {(row["factor"], row["axis0"]): (row["value"], row["diverged"]) for row in rows}
    for norm in ("batch", "group"):  # validation accuracy is test accuracy - 0.01 in these runs
        assert shown[norm, 0.01] == (pytest.approx(90.0), 0)
        assert shown[norm, 1.0] == (pytest.approx(89.0), 2)


def test_two_data_sets_are_never_averaged(make_lab: MakeLab) -> None:
    """97 % on one and 87 % on the other are no 92 %: neither in a map nor in a curve."""
    sets = {"digits": {"data.name": "mnist"}, "clothes": {"data.name": "fashion_mnist"}}
    grid = {"model.norm": ["batch", "layer"], "data.batch_size": [2, 8, 32], "set": sets, "optimizer.lr": [0.01, 0.1]}
    level = {"digits": 0.97, "clothes": 0.87}
    lab = make_lab(lambda c, s: level[c["set"]], grid, {"tuned": "optimizer.lr"}, seeds=2)
    specs = specifications(lab.evidence())
    values = {round(row["value"]) for row in rows_of(specs["learning_rates"])}
    assert values == {96, 86}
    for name in ("test_error_against_images_per_statistic", "test_error_against_values_per_statistic"):
        assert {round(row["curve"]) for row in rows_of(specs[name])} == {3, 13}
        assert panels_of(specs[name]) == {"digits", "clothes"}


def test_a_norm_whose_statistics_no_batch_decides_has_no_place_by_their_size(make_lab: MakeLab) -> None:
    """It stood beside `none`, as if it had no statistic."""
    grid = {"model.norm": ["batch", "none", "online_norm"], "data.batch_size": [2, 8, 32]}
    specs = specifications(make_lab(lambda c, s: 0.9, grid, seeds=2).evidence())
    for name in ("test_error_against_images_per_statistic", "test_error_against_values_per_statistic"):
        assert {row["factor"] for row in rows_of(specs[name])} == {"batch", "none"}
        assert "not drawn, without a number: online_norm" in json.dumps(specs[name])


def test_divergence_is_drawn_where_there_is_some(specs: dict[str, Spec], make_lab: MakeLab) -> None:
    shown = {(row["factor"], row["axis0"]): row["text"] for row in rows_of(specs["divergence"])}
    assert shown["none", 32] == "1 of 3"
    assert shown["batch", 8] == "0 of 3"
    assert "divergence" not in specifications(make_lab(lambda c, s: 0.9).evidence())


def test_a_diverging_rate_does_not_stretch_the_axis_of_losses(make_lab: MakeLab) -> None:
    lab = make_lab(lambda c, s: "diverged" if c["model.norm"] == "none" else 0.9)
    for run in lab.planned():
        path = lab.runs / run.id / "metrics.csv"
        if run.cell["model.norm"] == "none":
            path.write_text(path.read_text().replace("train,loss,nan", "train,loss,1e28"))
        if run.cell["model.norm"] == "group" and run.seed == 0:  # a survivor with one spike
            path.write_text(path.read_text().replace("train,loss,0.4", "train,loss,1e12", 1))
    spec = specifications(lab.evidence())["training_loss"]
    domain = encodings(spec, "y")[0]["scale"]["domain"]
    assert domain[1] < 50
    assert any("6 runs that diverged" in line for line in spec["title"]["subtitle"])


@pytest.mark.parametrize(
    ("outcome", "absent"),
    [
        (lambda c, s: 0.9 if s == 0 else None, {"differences"}),
        (lambda c, s: "diverged", {"training_loss", "differences"}),
        (lambda c, s: 0.9 + NOISE[s] if c["model.norm"] == "none" else None, {"differences"}),
    ],
    ids=["one seed", "all diverged", "one level"],
)
def test_what_data_cannot_fill_is_not_drawn(
    make_lab: MakeLab, outcome: Any, absent: set[str], capfd: pytest.CaptureFixture[str]
) -> None:
    specs = specifications(make_lab(outcome).evidence())
    assert not absent & specs.keys()
    for name, spec in specs.items():
        assert "NaN" not in vl_convert.vegalite_to_svg(spec, show_warnings=True), name
    assert "WARN" not in "".join(capfd.readouterr())


def test_a_numeric_factor_is_drawn_by_name(make_lab: MakeLab) -> None:
    """The page hides levels by their names: a number in the data would never match."""
    lab = make_lab(
        lambda c, s: 0.9 + NOISE[s], {"data.batch_size": [8, 32]}, {"factor": "data.batch_size", "baseline": 8}
    )
    for name, spec in specifications(lab.evidence()).items():
        for rows in spec["datasets"].values():
            assert {type(row["factor"]) for row in rows if "factor" in row} <= {str}, name


def test_figures_of_an_earlier_version_are_removed(typical_lab: Lab) -> None:
    folder = typical_lab.report / "figures"
    (folder / "learning_rates.svg").write_text("<svg/>")
    (folder / "learning_rates.png").write_bytes(b"")
    (folder / "mine.pdf").write_bytes(b"")
    typical_lab.write("figures")
    names = {path.name for path in folder.iterdir()}
    assert "mine.pdf" in names
    assert "learning_rates.svg" not in names
    assert "differences.png" in names


def test_names_of_users_are_text_in_a_figure(nasty: Lab) -> None:
    specs = specifications(nasty.evidence())
    assert json.dumps(specs)
    for name in specs:
        svg = (nasty.report / "figures" / f"{name}.svg").read_text()
        assert "<script" not in svg
        assert "<img" not in svg


def test_the_csv_of_a_figure_has_what_it_shows(written: Lab) -> None:
    for name, figure in drawn_figures(written.evidence()).items():
        frame = read_csv(written.report / "figures" / f"{name}.csv")
        assert len(frame) == len(figure.data) > 0
        assert list(frame.columns) == list(figure.data.columns)
    frame = read_csv(written.report / "figures" / "differences.csv")
    assert {"norm", "batch_size", "difference", "95 % from", "95 % to"} <= set(frame.columns)


def test_a_logarithmic_axis_has_a_few_round_values() -> None:
    assert log_axis(0.25, 2.5).to_dict()["values"] == [0.3, 0.5, 0.7, 1.0, 2.0]
    assert log_axis(0.5, 60).to_dict()["values"] == [1.0, 3.0, 10.0, 30.0]
    assert log_axis(1e-4, 20).to_dict()["values"] == [1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0]


@pytest.mark.parametrize(
    ("means", "low", "signs"),
    [([4.0, 90.0], [3.0, 80.0], set()), ([15.0, 90.0], [0.5, 80.0], set()), ([-4.0, 90.0], [-9.0, 80.0], {"−"})],
    ids=["a mean near zero", "an interval near zero", "a change, which may be below"],
)
def test_a_linear_axis_shows_no_error_below_zero(means: list[float], low: list[float], signs: set[str]) -> None:
    shown, frame = Shown(get_metric("test_accuracy"), error=True, log=False), pd.DataFrame({"mean": means, "low": low})
    base = alt.Chart(frame.assign(x=["a", "b"])).encode(x="x:N")
    y = shown.scale(frame["mean"], low=frame["low"])
    layers = [base.mark_point().encode(shown.y("mean:Q", y)), base.mark_rule().encode(shown.y("low:Q", y), y2="mean:Q")]
    drawn = vl_convert.vegalite_to_svg(alt.layer(*layers).to_dict())
    assert {"−"} & set("".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))) == signs


def test_the_margin_lies_within_the_axis_of_what_seeds_can_show(specs: dict[str, Spec]) -> None:
    scales = [e["scale"]["domain"] for e in encodings(specs["detectable"], "y") if "domain" in e.get("scale", {})]
    assert scales
    assert all(low < 0.5 < high for low, high in scales)


def test_a_panel_in_which_every_run_diverged_is_named_and_not_drawn(make_lab: MakeLab) -> None:
    def outcome(cell: dict, seed: int) -> float | str:
        own = NOISE[seed + 3] if cell["model.norm"] == "none" else NOISE[seed]
        return "diverged" if cell["rate"] == "huge" else 0.9 + own

    rates = {"small": {"optimizer.lr": 0.01}, "huge": {"optimizer.lr": 1e30}}
    grid = {"model.norm": ["none", "batch"], "rate": rates, "data.batch_size": [8, 32]}
    lab = make_lab(outcome, grid)
    drawn = specifications(lab.evidence())
    levels = drawn["test_error_against_batch_size"]
    assert "without 4 cells whose runs all diverged" in " ".join(levels["title"]["subtitle"])
    assert {row["panel"] for row in next(iter(levels["datasets"].values()))} == {"small"}
    assert "without 2 comparisons" in " ".join(drawn["differences"]["title"]["subtitle"])
    answer = " ".join(lab.evidence().answer)
    assert "cannot be compared (6 of 6 runs diverged, 6 of 6 of the other side) in 2 of 4 cells" in answer
    assert "0 to 3 seeds" not in answer


def test_captions_are_sentences(written: Lab) -> None:
    for name, figure in drawn_figures(written.evidence()).items():
        assert figure.caption.endswith("."), name
        assert len(figure.caption.split()) > 8, name


def test_files_have_no_layers_that_only_carry_tooltips(specs: dict[str, Spec]) -> None:
    hidden = [part for part in parts(specs["training_loss"]) if part.get("name") == "hover"]
    assert hidden
    assert [part for part in parts(still(specs["training_loss"])) if part.get("name") == "hover"] == []
    assert specs["training_loss"]["datasets"] == still(specs["training_loss"])["datasets"]


def test_further_contrasts_have_a_figure_of_their_own(make_lab: MakeLab, capfd: pytest.CaptureFixture[str]) -> None:
    lab = make_lab(lambda c, s: 0.9 + NOISE[s] + 0.01 * (c["model.norm"] == "none") * (c["data.batch_size"] == 8))
    plain, more = lab.evidence(), lab.evidence()
    assert contrasts.figure(plain) is None
    levels = tuple(more.levels)
    asked = [Contrast("within 1", "within", "norm", "batch", (), levels, "batch_size", 32, (8,))]
    asked += [Contrast("change 2", "change", "norm", "batch", (), levels, "batch_size", 32, (8,))]
    vars(more)["contrasts"] = [*declared_contrasts(more), *asked]
    # Equal differences have no error to judge them by: what is drawn needs an interval.
    table = more.estimates
    table[2] = table[2].assign(low=0.005, high=0.015)
    figure = contrasts.figure(more)
    assert figure is not None
    assert set(figure.data["contrast"]) == {
        "Within batch: batch_size compared with 32",
        "Change from batch_size 32, compared with batch",
    }
    assert figure.data.loc[figure.data["row"] == "none, to batch_size 8", "difference"].tolist() == pytest.approx([1.0])
    vl_convert.vegalite_to_svg(specification(figure.chart), show_warnings=True)
    assert "WARN" not in "".join(capfd.readouterr())


CHANGES = {"none": (0.90, 0.91), "batch": (0.90, 0.86), "group": (0.90, 0.87)}  # at batch size 32 and 8


def test_an_interaction_is_drawn_as_changes_beside_the_baselines(
    make_lab: MakeLab, capfd: pytest.CaptureFixture[str]
) -> None:
    """By hand: batch norm falls by 4 points, none rises by 1 (5 apart), group norm falls by 3 (1 apart)."""

    def outcome(cell: dict[str, Any], seed: int) -> float:
        at_32, at_8 = CHANGES[cell["model.norm"]]
        wobble = NOISE[seed] * {"none": 1.0, "batch": -0.5, "group": 0.5}[cell["model.norm"]]
        return at_8 + wobble if cell["data.batch_size"] == 8 else at_32

    first = {"factor": "model.norm", "baseline": "batch"}
    change = {"name": "smaller", "kind": "change", "along": "data.batch_size", "start": 32}
    assert interaction.figure(make_lab(outcome, compare=first, name="plain", seeds=5).evidence()) is None
    evidence = make_lab(outcome, compare=[first, change], seeds=5).evidence()
    figure = interaction.figure(evidence)
    assert figure is not None
    assert "interaction" in drawn_figures(evidence)
    rows = figure.data[figure.data["at"] == "8"].set_index("norm")
    wobble = 100 * np.mean(NOISE[:5])
    for norm, changed, share in (("batch", -4.0, -0.5), ("none", 1.0, 1.0), ("group", -3.0, 0.5)):
        assert rows.loc[norm, "change"] == pytest.approx(changed + share * wobble)
    table = evidence.estimates[1].set_index("treatment")
    for norm in ("none", "group"):
        for end, column in (("low", "95 % from"), ("high", "95 % to")):
            found = rows.loc[norm, column] - rows.loc["batch", "change"]
            assert found == pytest.approx(100 * table.loc[norm, end]), "the interval is of the difference of changes"
    assert rows.loc["none", "verdict"].startswith("better")
    assert (figure.data.loc[figure.data["at"] == "32", "change"] == 0).all()
    vl_convert.vegalite_to_svg(specification(figure.chart), show_warnings=True)
    assert "WARN" not in "".join(capfd.readouterr())


def test_an_interval_of_no_use_does_not_flatten_the_lines() -> None:
    rows = pd.DataFrame({"change": [0.0, 2.0, -4.0], "low": [np.nan, -70.0, -5.0], "high": [np.nan, 74.0, -3.0]})
    near, domain, cut = interaction._within_reach(rows)
    assert cut
    assert domain[0] == pytest.approx(-10 - 0.04 * 18)
    assert domain[1] == pytest.approx(8 + 0.04 * 18)
    assert near.loc[1, ["low", "high"]].tolist() == [-10.0, 8.0]
    assert near.loc[2, ["low", "high"]].tolist() == [-5.0, -3.0]


def test_identical_runs_are_drawn_once(make_lab: MakeLab) -> None:
    """Group norm gives what batch norm gives at one batch size: its marks there are left away, and it is said."""
    same = {"batch": 0.0, "none": -0.01, "group": 0.0}
    lab = make_lab(
        lambda c, s: (
            0.9
            + NOISE[s]
            + same[c["model.norm"]]
            + 0.001 * s * (c["data.batch_size"] > 8) * (c["model.norm"] == "group")
        )
    )
    figure = drawn_figures(lab.evidence())["test_error_against_batch_size"]
    copies = figure.data[figure.data["kind"] == "copy"]
    assert copies[["norm", "batch_size"]].to_numpy().tolist() == [["group", 8]]
    seeds = figure.data[figure.data["kind"] == "seed"]
    assert seeds[(seeds["norm"] == "group") & (seeds["batch_size"] == 8)].empty
    assert "group as batch in 1 cell" in " ".join(figure.spec["title"]["subtitle"])


def test_an_axis_that_bends_keeps_its_labels_apart(make_lab: MakeLab) -> None:
    def outcome(cell: dict, seed: int) -> float:
        gain = {8: 0.3, 16: 0.002, 32: 0.002}[cell["data.batch_size"]] * (cell["model.norm"] == "none")
        return 0.5 + gain + NOISE[seed + 3 * (cell["model.norm"] == "none")] / 10

    lab = make_lab(outcome, {"model.norm": ["none", "batch"], "data.batch_size": [8, 16, 32]})
    spec = specifications(lab.evidence())["differences"]
    steps = next(e["axis"]["values"] for e in encodings(spec, "x") if "values" in e.get("axis", {}))
    svg = vl_convert.vegalite_to_svg(json.dumps(spec))
    labels = [text.replace("−", "-") for text in re.findall(r">([−\d.]+)</text>", svg)]
    assert {float(label) for label in labels} >= {step for step in steps if step in (-0.1, 0.0, 0.1, 30.0)}
    assert 0.1 in steps


def test_an_axis_of_names_has_the_order_of_the_study(make_lab: MakeLab) -> None:
    sizes = {"wide": {"model.channels": [8, 16]}, "narrow": {"model.channels": [4, 8]}}
    base = {"data": {"name": "mnist"}, "budget": {"samples": 640}, "trainer": {"precise_statistics": 64}}
    lab = make_lab(lambda c, s: 0.9 + NOISE[s], {"model.norm": ["none", "batch"], "size": sizes}, base=base)
    evidence = lab.evidence()
    evidence.runs["test_accuracy_precise"] = evidence.runs["test_accuracy"] + (evidence.runs["norm"] == "batch") * 0.01
    figure = precise.figure(evidence)
    assert figure is not None
    assert encodings(figure.chart.to_dict(), "x")[0]["sort"] == ["wide", "narrow"]


def test_precise_statistics_are_drawn_of_the_cells_that_have_them(make_lab: MakeLab) -> None:
    kinds = {
        "plain": {"model.norm": "none"},
        "recomputed": {"model.norm": "batch", "trainer.precise_statistics": 64},
    }
    lab = make_lab(lambda c, s: 0.9 + NOISE[s], {"way": kinds}, {"factor": "way", "baseline": "plain"})
    evidence = lab.evidence()
    recomputed = evidence.runs["way"] == "recomputed"
    evidence.runs["test_accuracy_precise"] = (evidence.runs["test_accuracy"] + 0.01).where(recomputed)
    figure = precise.figure(evidence)
    assert figure is not None
    assert set(figure.data[next(name for name in figure.data if "way" in name)]) == {"recomputed"}
    drawn = rows_of(figure.chart.to_dict())
    means = {row["statistics"]: row["mean"] for row in drawn}
    assert means["running averages"] - means["precise statistics"] == pytest.approx(1.0)


def test_a_panel_of_a_slope_says_of_which_cells_it_is(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "data.batch_size": [8, 32], "model.dropout": [0.0, 0.5]}
    slope = {"kind": "slope", "along": "data.batch_size"}
    compare = [
        {"factor": "model.norm", "baseline": "batch"},
        {**slope, "where": {"model.dropout": [0.5]}},
        {**slope, "where": {"model.dropout": [0.0]}},
        {**slope, "name": "both", "along": "data.batch_size"},
    ]

    def outcome(cell: dict[str, Any], seed: int) -> float:
        return 0.9 + NOISE[seed] + 0.001 * NOISE[seed + 3 * (cell["model.norm"] == "batch")] * cell["data.batch_size"]

    figure = contrasts.figure(make_lab(outcome, grid, compare).evidence())
    assert figure is not None
    titles = list(dict.fromkeys(figure.data["contrast"]))
    start = "Slope per doubling of batch_size, compared with batch"
    assert titles == [f"{start}, dropout 0.5", f"{start}, dropout 0.0", f"{start} (both)"]
