"""`normbench inspect`: the table, one layer explained, the figure."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from ..conftest import RunCli


def test_the_table_of_the_digit_network(run_cli: RunCli) -> None:
    said = run_cli("inspect", "--model", "digit_cnn", "--norm", "batch", "--batch", 32)
    assert (said.status, said.err) == (0, "")
    assert re.search(r"block\.1 +64 x 14 x 14 +block +18,432 +128 +3,612,672 +50,176 +8 x 8 +6,272 +no", said.out)
    assert "parameters: 421,738 (95.5 % of them in linear layers)" in said.out
    assert "forward, an image: 4,241,152 MACs = 8,482,304 FLOPs" in said.out


def test_a_layer_is_explained_with_its_numbers(run_cli: RunCli) -> None:
    keys = ["--set", "model.channels=[10]", "--set", "model.kernel_size=5"]
    said = run_cli("inspect", "--model", "cnn", "--norm", "layer", "--data", "cifar10", *keys, "--explain", "block.0")
    assert said.status == 0
    for text in (
        "height = floor((32 - 5 + 4) / 1) + 1 = 32",
        "parameters = 10 x 3 x 5 x 5 + 10 = 760",
        "multiply-adds = 10 x 3 x 5 x 5 x 32 x 32 positions = 768,000",
        "values per statistic of layer = images x channels x positions = 1 x 10 x 1024 = 10,240",
    ):
        assert text in said.out


def test_layers_are_counted_by_kind(run_cli: RunCli) -> None:
    second, named = (run_cli("inspect", "--explain", name) for name in ("conv2", "block.1"))
    assert second.out == named.out
    for text in (
        "multiply-adds = 64 x 32 x 3 x 3 x 14 x 14 positions = 3,612,672",
        "multiply-adds in training = 3 x 3,612,672 = 10,838,016",
        "FLOPs in training = 2 x 10,838,016 = 21,676,032",
    ):
        assert text in second.out
    assert "hidden.0: 3136 x 1 x 1 -> 128 x 1 x 1" in run_cli("inspect", "--explain", "linear1").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--explain", "block.7"], r"--explain unknown layer 'block\.7'"),
        (["--norm", "instance", "--model", "mlp"], "one value for each statistic"),
        (["--figure", "nowhere/x.svg"], "no folder nowhere: make it first"),
    ],
)
def test_what_cannot_be_shown_is_said(run_cli: RunCli, words: list[str], said: str) -> None:
    answer = run_cli("inspect", *words)
    assert answer.status == 2
    assert re.search(said, answer.error)


def test_an_amount_of_memory_has_a_unit(run_cli: RunCli) -> None:
    said = run_cli("inspect", "--memory", "8")
    assert said.status == 2
    assert "'8' is no amount of memory, for example 8GB or 512MiB" in said.err


def test_memory_and_the_largest_batch(run_cli: RunCli) -> None:
    said = run_cli("inspect", "--model", "mlp", "--batch", 8, "--memory", "64MiB")
    assert said.status == 0
    assert re.search(r"peak of the activations of a batch of 8: \d+\.\d MiB", said.out)
    assert re.search(r"largest batch of a device with 64\.0 MiB: \d+ images, 6[34]\.\d MiB", said.out)


def test_the_figure_has_a_panel_for_each_norm(run_cli: RunCli, tmp_path: Path) -> None:
    said = run_cli("inspect", "--norm", "group", "--set", "model.norm_options.groups=4", "--figure", tmp_path / "x.svg")
    assert said.status == 0
    tree = ElementTree.parse(tmp_path / "x.svg").getroot()
    words = ["".join(node.itertext()) for node in tree.iter() if node.tag.endswith("text")]
    assert [word for word in words if word.split()[0] in {"batch", "layer", "instance", "group"}] == [
        "batch",
        "layer",
        "instance",
        "group (groups 4)",
    ]
    with Image.open(tmp_path / "x.png") as image:
        assert image.width > image.height > 300


def test_the_figure_draws_each_kind_of_output(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("inspect", "--norm", "local_response", "--figure", tmp_path / "x.svg").status == 0
    text = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert text.count("33 % of the outputs") == 3


def test_the_table_needs_no_torch() -> None:
    script = "import sys; from normbench.cli.main import run_command; run_command(['inspect', '--model', 'vit_tiny']); "
    script += "assert not {'torch', 'lightning', 'torchvision'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
