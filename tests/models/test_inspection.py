"""What a network costs and sees: worked examples, and the receptive field against the support of a gradient."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normbench.models import build_model, macs
from normbench.models.inspection import explanation, inspected, receptive_fields, totals
from normbench.models.layer import Layer
from normbench.models.registry import completed
from normbench.norms import Norms
from normbench.spec.registry import MODELS
from normbench.spec.schema import ModelConfig
from tests.models.cases import SMALL

Shape = tuple[int, int, int]


def model(name: str, norm: str = "none", **options: Any) -> ModelConfig:
    return completed(ModelConfig(name, norm=norm, options=options))


def walk(config: ModelConfig, image: Shape) -> list[Layer]:
    layers: list[Layer] = MODELS.get(config.name).facts["layers"](config, image, 10)
    return layers


# The founding text's worked examples.


def test_ten_kernels_of_five_by_five_over_three_channels() -> None:
    """760 parameters, and 768,000 multiply-adds on 32 x 32."""
    layer = walk(model("cnn", channels=[10], kernel_size=5), (3, 32, 32))[0]
    assert (layer.parameters, layer.macs, layer.outputs) == (760, 768_000, (10, 32, 32))


def test_three_convolutions_of_three_by_three_see_seven_by_seven() -> None:
    layers = walk(model("cnn", channels=[4, 4, 4], pool="none", hidden=[]), (1, 28, 28))
    fields = receptive_fields(layers, (1, 28, 28))
    assert [fields[f"block.{index}"] for index in range(3)] == [(3, 3), (5, 5), (7, 7)]


def test_most_parameters_of_the_digit_network_are_in_its_linear_layers() -> None:
    config = model("digit_cnn")
    found = totals(inspected(walk(config, (1, 28, 28)), Norms("none"), (1, 28, 28), 32))
    assert found.parameters == 421_642
    assert f"{100 * found.linear_share:.1f}" == "95.5"
    assert (found.macs, found.training_macs) == (4_241_152, 3 * 4_241_152 - 28 * 28 * 32 * 9)
    assert found.bytes == 4 * (32 * 28 * 28 + 64 * 14 * 14 + 128 + 10)


def test_the_output_side_is_rounded_down() -> None:
    layer = walk(model("cnn", channels=[4], kernel_size=5, stride=3, padding=1), (1, 28, 28))[0]
    assert layer.outputs == (4, 9, 9)  # (28 - 5 + 2) / 3 + 1 = 9.33
    (row,) = inspected([layer], Norms("none"), (1, 28, 28), 1)
    lines = explanation(row, (1, 28, 28))
    assert lines[0].startswith("height = floor((28 - 5 + 2) / 3) + 1 = 9 ")
    assert lines[2].startswith("parameters = 4 x 1 x 5 x 5 + 4 = 104 ")
    assert lines[3].startswith("multiply-adds = 4 x 1 x 5 x 5 x 9 x 9 positions = 8,100 ")


# Every model.

SMALL_FIELDS = [
    model("cnn", channels=[4, 4, 4], kernel_size=[5, 3, 2], stride=[2, 1, 1], pool=["average", "none", "average"]),
    model("digit_cnn"),
    model("lenet"),
    model("resnet", blocks=[1, 1], width=4, shortcut="projection"),
    model("resnet", blocks=[1, 1], width=4, preactivation=True, shortcut="projection"),
    model("plain", blocks=[1, 1], width=4),
    model("vit", width=8, depth=2, heads=2, patch=16),
    model("convnext", blocks=[1, 1], width=4),
]


def part(net: nn.Module, name: str) -> nn.Module:
    """The convolution or linear layer that a plain layer stands for."""
    modules = dict(net.named_modules())
    flat = name.replace(".", "", 1)
    for candidate in (f"{name}.conv", f"{flat}.conv", f"{flat}.linear", name):
        if isinstance(modules.get(candidate), nn.Conv2d | nn.Linear):
            return modules[candidate]
    raise AssertionError(f"no layer {name}")


def simplified(net: nn.Module) -> nn.Module:
    """The network with small positive weights and without maxima, so that no path has a gradient of zero."""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            parent, _, key = name.rpartition(".")
            setattr(net.get_submodule(parent), key, nn.AvgPool2d(2))
    for parameter in net.parameters():
        inputs = parameter[0].numel()  # sums stay small, so that no sigmoid is flat
        nn.init.uniform_(parameter, 0.5 / inputs, 1 / inputs)
    return net.double()


@pytest.mark.parametrize("config", SMALL_FIELDS, ids=lambda c: f"{c.name}-{c.options.get('preactivation', '')}")
def test_the_receptive_field_is_the_support_of_a_gradient(config: ModelConfig) -> None:
    image = (1, 96, 96)
    layers = walk(config, image)
    fields = receptive_fields(layers, image)
    net = simplified(build_model(config, image))
    outputs: dict[str, Tensor] = {}
    for layer in layers:

        def keep(module: nn.Module, inputs: Any, output: Tensor, name: str = layer.name) -> None:
            outputs[name] = output

        part(net, layer.name).register_forward_hook(keep)
    x = (torch.rand(1, *image, dtype=torch.float64) + 0.5).requires_grad_()
    net(x)
    for layer in layers:
        output = outputs[layer.name][0]
        if layer.layout == "tokens" and not layer.spatial:
            central = output[len(output) // 2]
        else:
            central = output[:, output.shape[1] // 2, output.shape[2] // 2] if output.dim() == 3 else output
        (gradient,) = torch.autograd.grad(central.sum(), x, retain_graph=True)
        rows, columns = gradient[0, 0].abs().sum(1).nonzero(), gradient[0, 0].abs().sum(0).nonzero()
        support = tuple(int(one.max() - one.min()) + 1 for one in (rows, columns))
        # Pixels that pooling or a stride leaves over at the edge are seen by nobody.
        assert all(seen - 3 <= got <= seen for got, seen in zip(support, fields[layer.name], strict=True)), layer.name
        if max(fields[layer.name]) < 96:
            assert support == fields[layer.name], layer.name


@pytest.mark.parametrize("name", list(MODELS))
def test_every_explanation_computes_what_it_says(name: str) -> None:
    config = completed(ModelConfig(name))
    image = (1, 28, 28)
    rows = inspected(walk(config, image), Norms(str(config.norm), config.norm_options), image, 32)
    trained = [line for row in rows for line in explanation(row, image, row is rows[0]) if "adds in training" in line]
    said = sum(int(line.split("  ")[0].rsplit(" = ", 1)[1].replace(",", "")) for line in trained)
    assert said == totals(rows).training_macs
    assert sum(row.layer.macs for row in rows) == macs([row.layer for row in rows])
    for row in rows:
        for line in explanation(row, image):
            text = line.split("  ")[0]
            if "floor" in text:
                formula, said = text.split(" = ", 1)[1].rsplit(" = ", 1)
                assert eval(formula, {"floor": math.floor}) == int(said)
            elif text.startswith(("parameters", "FLOPs", "multiply-adds")):
                formula, said = text.split(" = ", 1)[1].rsplit(" = ", 1)
                formula = formula.replace(" positions", "").replace(" (attention's two products)", "")
                assert eval(formula.replace(" x ", "*").replace(",", "")) == int(said.replace(",", ""))


def test_a_bias_is_redundant_just_before_a_norm_that_cancels_it() -> None:
    def redundant(norm: str, **options: Any) -> list[bool]:
        config = model("cnn", norm, channels=[8], hidden=[16], **options)
        rows = inspected(walk(config, (1, 28, 28)), Norms(norm, config.norm_options), (1, 28, 28), 32)
        return [row.redundant for row in rows]

    assert redundant("batch", bias="always", norm_linear=True) == [True, True, False]
    assert redundant("batch", bias="always", norm_linear=True, norm_position="after") == [False, False, False]
    assert redundant("layer", bias="always", norm_linear=True) == [False, False, False]
    assert redundant("batch", bias="auto", norm_linear=True) == [False, False, False]


BIASED = [
    *((name, SMALL.get(name, {})) for name in MODELS),
    *(
        ("cnn", {"channels": [4, 8], "hidden": [8], "norm_linear": True, "norm_position": p})
        for p in ("before", "after")
    ),
    *(
        ("resnet", {"blocks": [1, 1], "width": 4, "preactivation": first, "shortcut": shortcut})
        for first in (False, True)
        for shortcut in ("identity", "projection")
    ),
    ("vit", {"width": 16, "depth": 1, "heads": 2, "patch": 8}),
]
# Layers whose outputs are added to what is carried past the blocks, and read by norms alone.
CARRIED = {
    "preactivation": {"conv2", "shortcut"},
    "vit": {"patches", "projection", "down"},
    "convnext": {"down"},  # of the last block of a stage; others are read by the next one's convolution
}


@pytest.mark.parametrize("norm", ["batch", "group", "layer", "instance"])
@pytest.mark.parametrize(("name", "options"), BIASED, ids=lambda value: str(value).replace("'", ""))
def test_bias_auto_leaves_out_exactly_what_changes_nothing(name: str, options: dict[str, Any], norm: str) -> None:
    """Of every bias that `always` has: one that `auto` leaves out changes nothing, and any other one does.

    An effect is one on the output of a norm or on the logits. (The mean over a map that instance norm ends is beta,
    whatever was before: on the logits alone no bias would have an effect there.)

    One kind of bias is kept that has none: where what is carried past the blocks is read by norms alone, which all
    cancel it, a bias of what is added to it does nothing. `auto` looks at what stands directly behind a layer.
    """
    image = (1, 28, 28) if options.get("patch") == 7 else (1, 32, 32)
    norm_options = {"groups": 2} if norm == "group" else {}
    with_bias, auto = (
        completed(ModelConfig(name, norm, norm_options, options={**options, "bias": bias}))
        for bias in ("always", "auto")
    )
    norms = Norms(norm, norm_options)
    layers = {layer.name: layer for layer in walk(auto, image)}
    left = [layer.name for layer in layers.values() if not layer.bias]
    rows = inspected(walk(with_bias, image), norms, image, 32)
    assert [row.layer.name for row in rows if row.redundant] == left

    torch.manual_seed(0)
    net = build_model(with_bias, image).double()
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -1, 1)  # no scale is zero
    seen: list[Tensor] = []
    for key, module in net.named_modules():
        if key.rpartition(".")[2].startswith("norm"):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))

    def effects() -> list[Tensor]:
        seen.clear()
        return [net(x).detach(), *seen]

    x = torch.randn(6, *image, dtype=torch.float64)
    try:
        before = effects()
    except ValueError as error:
        pytest.skip(str(error))  # one value for each mean
    carried = CARRIED.get("preactivation" if options.get("preactivation") else name.removesuffix("_tiny"), ())
    for layer in layers.values():
        bias = part(net, layer.name).get_parameter("bias")
        kept = bias.detach().clone()
        bias.data.normal_()
        largest = max(float((one - other).abs().max()) for one, other in zip(effects(), before, strict=True))
        bias.data = kept
        unread = layer.name.rpartition(".")[2] in carried and norms.cancels_bias(layer.outputs[0])
        assert largest < 1e-9 if layer.name in left or unread else largest > 1e-6, (layer.name, largest)
    assert bool(left) == (
        norm in ("batch", "instance") and options.get("norm_position") != "after" and "vit" not in name
    )


def test_values_per_statistic_follow_the_site() -> None:
    config = model("cnn", "group", channels=[8], hidden=[], pool="none")
    config = completed(ModelConfig("cnn", "group", {"groups": 2}, options=config.options))
    first, output = inspected(walk(config, (1, 10, 10)), Norms("group", {"groups": 2}), (1, 10, 10), 32)
    assert (first.values, output.values) == (4 * 100, None)
    assert first.norm_parameters == 16
