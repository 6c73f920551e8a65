"""K7, K13: plug-ins of version 0.1's form; their claims are checked and the seed's promise holds for them."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from normbench.spec.registry import MODELS, NORMS
from normbench.store import RunFolder

from ..conftest import RunCli

PLUGIN = '''
from normbench import register_model, register_norm
from normbench.config import ModelConfig, RunConfig, replace


@register_norm("zero_gamma", axes="(C, H, W)", scope="sample", same_in_eval=True)
def zero_gamma(num_channels: int, spatial: bool = True):
    """Layer norm whose gamma starts at zero."""
    from torch import nn

    layer = nn.GroupNorm(1, num_channels)
    nn.init.zeros_(layer.weight)
    return layer


@register_norm("inst_track", axes="(H, W)", scope="sample", same_in_eval=True, linear=False)
def inst_track(num_channels: int, spatial: bool = True):
    """Instance norm with running statistics."""
    from torch import nn

    return nn.InstanceNorm2d(num_channels, affine=True, track_running_stats=True)


@register_model("dropnet")
def dropnet(config, image, classes):
    from torch import nn

    assert isinstance(config, ModelConfig)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, classes))
'''
SMALL = ["--data.name=mnist_5k", "--data.batch_size=32", "--trainer.accelerator=cpu", "--trainer.keep=last"]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "p.py"
    path.write_text(PLUGIN)
    yield f"--plugins=[{path}]"
    for registry, names in ((NORMS, ("zero_gamma", "inst_track")), (MODELS, ("dropnet",))):
        for name in set(names) & set(registry):
            registry.remove(name)


def test_case_16_what_a_constructor_sets_stays_and_every_draw_follows_the_seed(
    run_cli: RunCli, plugin: str, tmp_path: Path
) -> None:
    losses = {}
    for norm in ("zero_gamma", "layer"):
        words = ["--model.name=mlp", f"--model.norm={norm}", "--budget.steps=1", f"--folder={tmp_path / norm}"]
        said = run_cli("train", plugin, *SMALL, *words)
        assert said.status == 0, said.err
        losses[norm] = float(RunFolder(tmp_path / norm).curves().query("split == 'train'")["value"].iloc[0])
    assert losses["zero_gamma"] == pytest.approx(2.3, abs=0.05), "nothing but the last bias gets through"
    assert losses["layer"] != losses["zero_gamma"]
    outputs = set()
    for folder in ("one", "two"):
        words = ["--model.name=dropnet", "--budget.steps=20", f"--runs={tmp_path / folder}"]
        outputs.add(run_cli("train", plugin, *SMALL, *words).out.rpartition("folder")[0])
    assert len(outputs) == 1
    assert "test_accuracy" in outputs.pop()


def test_case_29_a_false_claim_is_noticed_before_training(run_cli: RunCli, plugin: str, tmp_path: Path) -> None:
    said = run_cli("train", plugin, *SMALL, "--model.norm=inst_track", "--budget.steps=2", f"--runs={tmp_path / 'r'}")
    assert said.status == 2
    assert "norm 'inst_track' claims same_in_eval=True, but evaluation computes another function" in said.error
    assert not (tmp_path / "r").exists()


def test_a_plug_in_that_imports_the_package_first_does_not_take_its_names(tmp_path: Path) -> None:
    """In a fresh process the plug-in is the first to import the rooms, whose norms stay the package's own."""
    path = tmp_path / "p.py"
    path.write_text(PLUGIN)
    code = f"""
        from normbench.spec import load_plugins
        load_plugins(({str(path)!r},))
        from normbench.spec.registry import NORMS, MODELS, OPTIMIZERS
        mine = {{name for registry in (NORMS, MODELS, OPTIMIZERS) for name in registry
                if registry.get(name).source == {str(path)!r}}}
        assert mine == {{"zero_gamma", "inst_track", "dropnet"}}, mine
        import normbench.norms.batch, normbench.norms.group
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
