"""Figures compile without a warning; a norm looks the same in all of them, and colour-blind readers see which."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import vl_convert

from normbench.report.figures.charts import MAX_FACETS, MAX_FOREST_ROWS, NORM_STYLE, PANEL, specifications, styles

from .conftest import NOISE, Lab, MakeLab

Spec = dict[str, Any]


@pytest.fixture(scope="session")
def specs(written: Lab) -> dict[str, Spec]:
    return specifications(written.evidence())


def parts(spec: Spec) -> Iterator[Spec]:
    """A specification and everything in it that draws."""
    yield spec
    for inner in [*spec.get("layer", []), *([spec["spec"]] if "spec" in spec else [])]:
        yield from parts(inner)


def encodings(spec: Spec, channel: str) -> list[Spec]:
    return [part["encoding"][channel] for part in parts(spec) if channel in part.get("encoding", {})]


def test_every_figure_is_there(specs: dict[str, Spec], written: Lab) -> None:
    assert list(specs) == [
        "test_accuracy_against_batch_size",
        "test_accuracy_against_images_per_statistic",
        "differences",
        "training_loss_by_samples",
        "training_loss_by_step",
        "training_loss_by_seconds",
        "validation_accuracy_by_samples",
        "cost",
    ]
    for name in specs:
        svg = (written.report / "figures" / f"{name}.svg").read_text()
        png = (written.report / "figures" / f"{name}.png").read_bytes()
        assert svg.startswith("<svg")
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(png) > 5_000


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
        for scale in (e["scale"] for channel in ("color", "shape") for e in encodings(spec, channel) if "scale" in e):
            for level, value in zip(scale["domain"], scale["range"], strict=True):
                seen.setdefault(level, set()).add(value)
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

    assert title("test_accuracy_against_batch_size", "x") == "batch size (images), log scale"
    assert title("test_accuracy_against_batch_size", "y") == "test accuracy (%)"
    assert title("test_accuracy_against_images_per_statistic", "y") == "test error (%)"
    assert "(points; right is better)" in title("differences", "x")
    assert title("training_loss_by_seconds", "x") == "training time (s)"
    assert title("training_loss_by_samples", "x") == "training images seen"
    assert title("training_loss_by_step", "x") == "optimizer steps"
    assert title("training_loss_by_step", "y") == "training loss (nats, log scale)"
    assert title("validation_accuracy_by_samples", "y") == "validation accuracy (%)"
    assert "(s, log scale)" in title("cost", "x")


def test_error_is_what_accuracy_leaves(specs: dict[str, Spec]) -> None:
    def cells(name: str) -> dict[tuple[str, int], list[float]]:
        rows = next(iter(specs[name]["datasets"].values()))
        return {(r["norm"], r["batch_size"]): [r[k] for k in ("mean", "ci_low", "ci_high")] for r in rows}

    errors = cells("test_accuracy_against_images_per_statistic")
    for cell, (mean, low, high) in cells("test_accuracy_against_batch_size").items():
        assert errors[cell] == pytest.approx([100 - mean, 100 - high, 100 - low])
        assert 0 <= low <= mean <= high <= 100


def test_markers_at_one_place_stand_side_by_side(specs: dict[str, Spec]) -> None:
    rows = next(iter(specs["test_accuracy_against_images_per_statistic"]["datasets"].values()))
    places = [row["x"] for row in rows]
    assert len(set(places)) == len(places)
    assert all(abs(np.log2(row["x"] / row["place"])) < 0.5 for row in rows)


def panels_of(spec: Spec) -> set[str]:
    return {row[PANEL] for rows in spec["datasets"].values() for row in rows if PANEL in row}


def test_more_panels_than_a_page_holds_are_reduced_with_a_note(make_lab: MakeLab) -> None:
    sizes, rates = [2, 4, 8, 16, 32, 64, 128, 160], [0.1 * i for i in range(8)]
    grid = {"model.norm": ["batch", "group"], "model.dropout": rates, "data.batch_size": sizes}
    specs = specifications(
        make_lab(lambda c, s: 0.9 + NOISE[s + (c["model.norm"] == "group")], grid, seeds=2).evidence()
    )
    for name, of in {
        "test_accuracy_against_batch_size": "8 values of dropout",
        "test_accuracy_against_images_per_statistic": "8 values of dropout",
        "training_loss_by_samples": "64 values of dropout × batch size",
    }.items():
        assert len(panels_of(specs[name])) == MAX_FACETS
        assert f"{MAX_FACETS} of {of}" in specs[name]["title"]["subtitle"]
    rows = next(rows for rows in specs["differences"]["datasets"].values() if "row" in rows[0])
    assert len(rows) == MAX_FOREST_ROWS
    assert "48 of 64 values of dropout × batch size" in specs["differences"]["title"]["subtitle"]


def test_a_curve_averages_over_seeds_alone(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "model.dropout": [0.0, 0.5], "data.batch_size": [8, 32]}
    specs = specifications(make_lab(lambda c, s: 0.9 + c["model.dropout"] / 10, grid, seeds=2).evidence())
    rows = next(iter(specs["training_loss_by_samples"]["datasets"].values()))
    assert {row["n"] for row in rows} == {2}
    assert panels_of(specs["training_loss_by_samples"]) == {"0.0, 8", "0.0, 32", "0.5, 8", "0.5, 32"}


def test_a_tuned_learning_rate_has_a_heat_map_with_diverged_runs_at_chance(make_lab: MakeLab) -> None:
    grid = {"model.norm": ["batch", "group"], "optimizer.lr": [0.01, 1.0]}
    lab = make_lab(lambda c, s: "diverged" if c["optimizer.lr"] == 1.0 else 0.9, grid, {"tuned": "optimizer.lr"})
    spec = specifications(lab.evidence())["learning_rates"]
    rows = next(iter(spec["datasets"].values()))
    assert {(row["norm"], row["base_lr"]): row["value"] for row in rows} == pytest.approx(
        {("batch", 0.01): 90.0, ("batch", 1.0): 10.0, ("group", 0.01): 90.0, ("group", 1.0): 10.0}
    )


@pytest.mark.parametrize(
    ("outcome", "absent"),
    [
        (lambda c, s: 0.9 if s == 0 else None, {"differences"}),
        (lambda c, s: "diverged", {"training_loss_by_samples", "differences", "cost"}),
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
            assert {type(row["batch_size"]) for row in rows if "batch_size" in row} <= {str}, name


def test_figures_of_an_earlier_version_are_removed(typical_lab: Lab) -> None:
    folder = typical_lab.report / "figures"
    (folder / "learning_rates.svg").write_text("<svg/>")
    (folder / "learning_rates.png").write_bytes(b"")
    (folder / "mine.pdf").write_bytes(b"")
    typical_lab.write("figures")
    names = {path.name for path in folder.iterdir()}
    assert "mine.pdf" in names
    assert "learning_rates.svg" not in names
    assert "cost.png" in names


def test_names_of_users_are_text_in_a_figure(nasty: Lab) -> None:
    specs = specifications(nasty.evidence())
    assert json.dumps(specs)
    for name in specs:
        svg = (nasty.report / "figures" / f"{name}.svg").read_text()
        assert "<script" not in svg
        assert "<img" not in svg
