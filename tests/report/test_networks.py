"""Filters and feature maps in a report, of runs that were really trained and kept their weights."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from normbench.errors import UsageError
from normbench.launch.ranks import execute
from normbench.report.page import networks as shown
from normbench.report.page.html import page
from normbench.spec import yaml_text
from normbench.store.folder import WEIGHTS
from normbench.study import load_study, make_plan
from normbench.train import seen

from ..conftest import RunCli
from .conftest import Lab
from .test_images import STUDY, of

CNN = {"name": "cnn", "channels": [4, 18], "stride": 2, "pool": "none", "hidden": [16]}


def lab_of(root: Path, model: dict[str, Any], keep: str, norms: list[str]) -> Lab:
    study: dict[str, Any] = dict(STUDY)
    base = {**study["base"], "model": model, "budget": {"samples": 256}}
    base["trainer"] = {"validations": 1, "accelerator": "cpu", "keep": keep}
    path = root / "kept.yaml"
    path.write_text(yaml_text({**study, "name": "kept", "base": base, "grid": {"model.norm": norms}}))
    for run in make_plan(load_study(path)).runs:
        execute(run.config, root / "runs" / run.id)
    return Lab(path, root / "runs", root / "reports")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return lab_of(tmp_path_factory.mktemp("kept"), CNN, "last", ["batch", "layer"])


@pytest.fixture
def mine(kept: Lab, tmp_path: Path) -> Lab:
    """A copy that a test may change."""
    shutil.copytree(kept.study.parent, tmp_path / "lab")
    shown._drawn.cache_clear()
    return Lab(tmp_path / "lab" / kept.study.name, tmp_path / "lab" / "runs", tmp_path / "reports")


def headings(text: str) -> list[str]:
    return re.findall(r'font-weight="bold">([^<]+)<', text)


def test_the_page_shows_filters_and_maps_of_the_first_seed(kept: Lab) -> None:
    text = page(kept.evidence())
    assert '<a href="#networks">' in text
    section = text[text.index('<section id="networks">') : text.index('<section id="cost-section">')]
    assert [heading.split(",")[0] for heading in headings(section)] == ["batch", "layer"] * 2
    assert headings(section)[:2] == ["batch, seed 0: block0.conv", "layer, seed 0: block0.conv"]
    told = re.search(r"batch, seed 0: test image (\d+) of class (\d), taken for (\d)", section)
    assert told is not None
    number, label, said = map(int, told.groups())
    found = seen.maps(shown.RunFolder(of(kept, "batch", 0)))
    assert (number, label, said) == (0, found.label, found.predicted)
    per_network = 4 + 1 + 4 + 16  # filters, the image, the maps of two layers, of which the second has two more
    assert section.count("<image ") == 2 * per_network
    assert "block1.act: 18 maps of 7 x 7" in section
    assert "; the first 16" in section
    assert len(section) < shown.MOST_BYTES


def test_the_class_of_the_image_can_be_chosen(mine: Lab, run_cli: RunCli) -> None:
    words = ["report", mine.study, "--runs", mine.runs, "--reports", mine.reports]
    assert run_cli(*words, "--maps", 7).status == 0
    text = (mine.report / "report.html").read_text()
    assert "the first test image of class 7: of each level" in text
    assert re.search(r"layer, seed 0: test image \d+ of class 7, taken for \d", text)
    wrong = run_cli(*words, "--maps", 10)
    assert (wrong.status, wrong.error) == (2, "normbench: error: --maps 10: the classes are 0 to 9")


def test_a_seed_without_weights_is_passed_over_and_a_level_without_any_left_out(mine: Lab) -> None:
    (of(mine, "batch", 0) / WEIGHTS).unlink()
    for seed in (0, 1):
        (of(mine, "layer", seed) / WEIGHTS).unlink()
    assert [text.split(":")[0] for text in headings(shown.networks(mine.evidence()))] == ["batch, seed 1"] * 2
    (of(mine, "batch", 1) / WEIGHTS).unlink()
    text = page(mine.evidence())
    assert "#networks" not in text
    assert 'id="networks"' not in text


def test_the_size_is_bounded_and_what_is_left_out_is_said(mine: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown.networks(mine.evidence())
    monkeypatch.setattr(shown, "MOST_BYTES", len(whole) // 2)
    text = shown.networks(mine.evidence())
    assert "The first 1 of 2 networks are shown." in text
    assert "layer, seed" not in text
    monkeypatch.setattr(shown, "MOST_BYTES", 10 * len(whole))
    monkeypatch.setattr(shown, "MOST_NETWORKS", 1)
    assert "The first 1 of 2 networks are shown." in shown.networks(mine.evidence())


def test_without_the_images_there_are_filters_alone(mine: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(run: object, label: int | None) -> None:
        raise UsageError("no data here")

    monkeypatch.setattr(seen, "maps", missing)
    assert headings(shown.networks(mine.evidence())) == ["batch, seed 0: block0.conv", "layer, seed 0: block0.conv"]


@pytest.mark.parametrize("how", ["broken", "not finite"])
def test_weights_that_cannot_be_shown_break_nothing(mine: Lab, how: str) -> None:
    path = of(mine, "batch", 0) / WEIGHTS
    if how == "broken":
        path.write_bytes(b"PK")
    else:
        content = torch.load(path, weights_only=True)
        next(value for key, value in content["state_dict"].items() if key.endswith("conv.weight")).fill_(torch.nan)
        torch.save(content, path)
    assert headings(shown.networks(mine.evidence()))[0].startswith("layer, seed 0")


def test_a_network_of_linear_layers_and_runs_without_weights_show_nothing(tmp_path: Path, kept: Lab) -> None:
    linear = lab_of(tmp_path, {"name": "mlp", "hidden": [8]}, "last", ["batch", "none"])
    assert (of(linear, "batch", 0) / WEIGHTS).is_file()
    assert shown.networks(linear.evidence()) == ""


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (6, list(range(6))), (19, [0, 4, 7, 11, 14, 18])])
def test_of_many_layers_the_first_the_last_and_some_between_are_shown(count: int, expected: list[int]) -> None:
    layers = [(str(place), np.zeros(1)) for place in range(count)]
    assert [int(name) for name, _ in shown._spread(layers)] == expected
