"""Which parameters weight decay acts on, and which have a rate of their own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from normbench.norms import register_norm
from normbench.spec import from_dict, resolve, run_config, run_id, to_dict
from normbench.spec.registry import NORMS
from normbench.train.decay import parameter_groups
from normbench.train.module import NormClassifier
from normbench.train.optimizers import build_optimizer

from .runs import tiny, trained

DECAY: dict[str, Any] = {"optimizer.weight_decay": 0.1}


def module_of(**keys: Any) -> NormClassifier:
    config = resolve(tiny(**{**DECAY, **keys}))
    return NormClassifier(config.model, config.optimizer, 0)


def named(module: NormClassifier, groups: list[Any]) -> list[set[str]]:
    names = {parameter: name for name, parameter in module.net.named_parameters()}
    return [{names[p] for p in group["params"]} for group in groups]


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance"])
def test_weights_of_layers_decay_and_nothing_else(norm: str) -> None:
    module = module_of(**{"model.norm": norm, "model.bias": "always"})
    decaying, rest = named(module, parameter_groups(module.net, module.optimizer_config, 0.01))
    layers = {name for name, m in module.net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert decaying == {f"{name}.weight" for name in layers}
    assert rest == {name for name, _ in module.net.named_parameters()} - decaying
    assert any(name.endswith("bias") for name in rest)


def test_parameters_of_a_norm_of_ones_own_are_spared_whatever_their_shape() -> None:
    @register_norm("matrix_norm")
    class MatrixNorm(nn.Module):
        """Scales by a matrix."""

        def __init__(self, num_channels: int) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.eye(num_channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("nc...,cd->nd...", x, self.mix)

    try:
        module = module_of(**{"model.norm": "matrix_norm"})
        decaying, rest = named(module, parameter_groups(module.net, module.optimizer_config, 0.01))
    finally:
        NORMS.remove("matrix_norm")
    assert any("mix" in name for name in rest)
    assert not any("mix" in name for name in decaying)


@pytest.mark.parametrize("keys", [{"optimizer.decay_norms": True}, {"optimizer.weight_decay": 0.0}])
def test_otherwise_there_is_one_group(keys: dict[str, Any]) -> None:
    module = module_of(**keys)
    assert parameter_groups(module.net, module.optimizer_config, 0.01) == list(module.net.parameters())


@pytest.mark.parametrize("decay", [{}, DECAY], ids=["plain", "decay"])
@pytest.mark.parametrize(
    ("keys", "own", "rate"),
    [
        ({"model.norm": "batch_instance"}, "norm.gate", 10.0),
        ({"model": {"name": "resnet8", "norm": "fixup"}}, ("norm.bias", "input_bias", "branch_scale"), 0.1),
        ({"model": {"name": "vit_tiny", "norm": "fixup"}}, ("norm.bias", "put_bias", "branch_scale"), 0.1),
    ],
    ids=["batch_instance", "fixup", "fixup-vit"],
)
def test_some_parameters_have_a_rate_of_their_own(keys: Any, own: Any, rate: float, decay: dict[str, Any]) -> None:
    config = resolve(run_config({**keys, **decay, "data.name": "mnist_5k"}))
    net = NormClassifier(config.model, config.optimizer, 0).net
    groups = parameter_groups(net, config.optimizer, 0.5)
    assert "lr" not in groups[0], "probes read the rate of the run there"
    found = {p: group.get("lr", 0.5) for group in groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        assert found.pop(parameter) == pytest.approx(0.5 * (rate if name.endswith(own) else 1)), name
    assert not found
    spared = {p for group in groups if group.get("weight_decay") == 0 for p in group["params"]}
    assert {name for name, p in net.named_parameters() if p in spared} == {
        name for name, p in net.named_parameters() if decay and p.squeeze().dim() <= 1
    }


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_step_without_a_gradient_shrinks_weights_alone(name: str) -> None:
    module = module_of(**{"optimizer.name": name})
    config = module.optimizer_config
    before = {key: p.detach().clone() for key, p in module.net.named_parameters()}
    optimizer = build_optimizer(config.name, parameter_groups(module.net, config, 0.01), 0.01, config.options)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in module.net.named_parameters():
        assert torch.equal(parameter, before[key]) == (parameter.dim() == 1), key


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_it_changes_numbers_and_ids_and_is_recorded(name: str, tmp_path: Path) -> None:
    results = {}
    for decay_norms in (False, True):
        keys = {"optimizer.name": name, "optimizer.lr": 0.01, "optimizer.decay_norms": decay_norms, **DECAY}
        results[decay_norms] = trained(tiny(**keys, **{"budget.steps": 6}), tmp_path)
    assert results[False]["config"]["optimizer"]["decay_norms"] is False
    assert results[False]["run_id"] != results[True]["run_id"]
    assert results[False]["metrics"]["train_loss"] != results[True]["metrics"]["train_loss"]


def test_a_configuration_from_before_the_key_keeps_its_id_and_its_meaning() -> None:
    tree = to_dict(resolve(run_config({**DECAY, "optimizer.decay_norms": True, "trainer.accelerator": "cpu"})))
    known = run_id(from_dict(tree))
    del tree["optimizer"]["decay_norms"]
    config = from_dict(tree)
    assert config.optimizer.decay_norms
    assert run_id(config) == known
    assert not from_dict({"optimizer": {"weight_decay": 0.1}}).optimizer.decay_norms, "a part of one, as a user writes"
