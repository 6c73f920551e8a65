"""`normbench inspect`: the table, one layer explained, the figure, filters and maps of a run."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from normbench import NormClassifier
from normbench.store.folder import WEIGHTS, RunFolder
from normbench.train.seen import filters, maps

from ..conftest import RunCli
from .conftest import TINY


def test_the_table_of_the_digit_network(run_cli: RunCli) -> None:
    said = run_cli("inspect", "--model", "digit_cnn", "--norm", "batch", "--batch", 32)
    assert (said.status, said.err) == (0, "")
    assert re.search(r"block\.1 +64x14x14 +block +18,432 +128 +3,612,672 +50,176 +8x8 +6,272 +no", said.out)
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
        (["--figure", "."], "name a file in it"),
        (["--norm", "my_norm.py:Mine"], "name its file under `plugins`.*unknown norm 'my_norm.py:Mine'"),
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


def trained(run_cli: RunCli, folder: Path, *words: str) -> Path:
    assert run_cli("train", *words, *TINY[2:], "--trainer.keep=last", f"--folder={folder}").status == 0
    return folder


def pictures(path: Path) -> int:
    return len(re.findall("<image ", path.read_text(encoding="utf-8")))


def test_filters_and_maps_of_a_trained_run(run_cli: RunCli, tmp_path: Path) -> None:
    model = ("--model.name=cnn", "--model.channels=[4, 6]", "--model.hidden=[8]", "--model.norm=batch")
    run = trained(run_cli, tmp_path / "run", *model)
    said = run_cli("inspect", run, "--filters", "--maps", 7, "--out", tmp_path)
    assert (said.status, said.err) == (0, "")
    names = ["filters.svg", "filters.png", "maps_7.svg", "maps_7.png"]
    assert said.out.split() == [str(tmp_path / name) for name in names]
    assert pictures(tmp_path / "filters.svg") == 4
    assert pictures(tmp_path / "maps_7.svg") == 1 + 4 + 6
    text = (tmp_path / "maps_7.svg").read_text(encoding="utf-8")
    for words in (
        "cnn with norm batch",
        "of class 7, taken for",
        "block0.act: 4 maps of 28 x 28",
        "block1.act: 6 maps",
    ):
        assert words in text
    net = NormClassifier.load_from_checkpoint(run / WEIGHTS).net
    assert np.array_equal(filters(RunFolder(run)).weights, net.get_parameter("block0.conv.weight").detach().numpy())
    seen = maps(RunFolder(run), 7)
    assert [values.shape for _, values in seen.layers] == [(4, 28, 28), (6, 14, 14)]
    first = net.eval().get_submodule("block0")[:3](torch.from_numpy(seen.image)[None])  # type: ignore[index]
    np.testing.assert_allclose(seen.layers[0][1], first[0].detach().numpy(), rtol=1e-5, atol=1e-6)
    with Image.open(tmp_path / "maps_7.png") as image:
        assert len(image.convert("L").getcolors(1 << 16) or ()) > 20, "grey values of the maps are there"


def test_what_has_no_filters_or_maps_is_said(run_cli: RunCli, tmp_path: Path) -> None:
    run = trained(run_cli, tmp_path / "run", "--model.name=mlp", "--model.hidden=[8]")
    for words, said in (
        ([run], "give its folder, and --filters or --maps CLASS"),
        (["--filters"], "give its folder, and --filters or --maps CLASS"),
        ([run, "--filters"], "the first layer of its network is no convolution"),
        ([run, "--maps", 10], "--maps 10: no test image has that class: choose one of 0 to 9"),
        ([run, "--maps", 1], "no activation function of its network gives maps"),
        ([run, "--maps", 1, "--out", tmp_path / "nowhere"], "no such folder: make it first"),
    ):
        answer = run_cli("inspect", *words)
        assert answer.status == 2
        assert said in answer.error
