"""K4, K5, K6: what cannot run, or would not be what it says, is refused by `plan`, `run` and `train` alike."""

from pathlib import Path

import pytest

from ..conftest import RunCli
from .conftest import WriteText

STUDY = """
name: known
question: When is it noticed?
base: {{data: {{name: mnist_5k}}, model: {{name: {model}}}, budget: {{steps: 20}}{base}}}
grid: {{model.norm: [batch{norms}]}}
seeds: 1
compare: {{factor: model.norm, baseline: batch{compare}}}
"""


def refused(run_cli: RunCli, path: Path, said: str) -> None:
    for command in ("plan", "run", "status", "report"):
        answer = run_cli(command, path, "--runs", path.parent / "r")
        assert answer.status == 2, answer
        assert said in answer.error
    assert not (path.parent / "r").exists() or not list((path.parent / "r").glob("*/config.yaml"))


def study(write: WriteText, base: str = "", compare: str = "", norms: str = "", model: str = "cnn") -> Path:
    return write("known.yaml", STUDY.format(base=base, compare=compare, norms=norms, model=model))


ONE_PIXEL = ["--model.name=cnn", "--model.channels=[8,8,8,8,8]", "--model.stride=2", "--model.pool=none"]
ONE_PIXEL += ["--data.name=mnist_5k", "--data.batch_size=32", "--model.hidden=[32]"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*ONE_PIXEL, "--model.norm=group", "--model.norm_options.groups=8"], "choose fewer groups"),
        ([*ONE_PIXEL, "--model.norm=instance"], "choose a larger map or another norm"),
        (
            [*ONE_PIXEL, "--data.batch_size=1", "--model.norm=group", "--model.norm_options.groups=8"],
            "choose fewer groups",
        ),
        (["--model.name=mlp", "--model.hidden=[1]", "--model.norm=layer"], "choose more channels"),
        (["--model.name=mlp", "--data.batch_size=1", "--model.norm=batch"], "choose a larger batch"),
    ],
)
def test_case_06_one_value_a_statistic(run_cli: RunCli, tmp_path: Path, words: list[str], said: str) -> None:
    """And the advice helps: a batch is not what a group norm lacks."""
    answer = run_cli("train", *words, f"--runs={tmp_path}")
    assert answer.status == 2
    assert "one value for each statistic" in answer.error
    assert said in answer.error
    assert ("larger batch" in answer.error) == (said == "choose a larger batch")


def test_case_06_two_values_a_statistic_are_said_by_the_plan(run_cli: RunCli, write: WriteText) -> None:
    base = ", trainer: {accelerator: cpu}, optimizer: {lr: 0.01}"
    path = study(write, base, norms=", layer", model="mlp, hidden: [2]")
    said = run_cli("plan", path)
    assert said.status == 0
    assert said.error.startswith("warning: hidden.0: norm 'layer' has two values for each statistic")


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (", trainer: {precision: bf16_mixed}", "trainer.precision=bf16_mixed: expected one of"),
        (", trainer: {accelerator: gppu}", "trainer.accelerator=gppu: expected one of auto, cpu, cuda, mps; did you"),
        (", trainer: {precision: 16-mixed, accelerator: cpu}", "a CPU computes mixed precision in bfloat16 only"),
        (", trainer: {precision: 16, accelerator: cpu}", "a CPU computes mixed precision in bfloat16 only"),
    ],
)
def test_case_07_precision_and_accelerator(run_cli: RunCli, write: WriteText, base: str, said: str) -> None:
    refused(run_cli, study(write, base), said)


def test_case_09_a_misspelt_metric(run_cli: RunCli, write: WriteText) -> None:
    refused(run_cli, study(write, compare=", metric: test_acc"), "did you mean 'test_accuracy'?")


IMPOSSIBLE = {
    "optimizer.momentum": ["-0.5", "1.5", ".nan"],
    "optimizer.weight_decay": ["-0.1", ".inf"],
    "optimizer.lr": [".nan", ".inf", "-1", "0"],
    "optimizer.nesterov": ["true, optimizer.momentum: 0.0"],
    "optimizer.warmup_steps": ["100", "-3"],
    "optimizer.step_every": ["0", "-1", "2"],
    "optimizer.step_factor": ["-1", "0"],
    "model.norm_options": ["{eps: abc}", "{eps: 0}", "{eps: -1}", "{momentum: 7}", "{momentum: -0.1}"],
    "model.kernel_size": ["0"],
    "model.padding": ["-1"],
    "model.stride": ["0"],
    "model.dropout": ["1", "-0.1", "x"],
    "model.channels": ["[]x", "[0]", "8"],
    "trainer.validations": ["50", "-1"],
    "trainer.loss_points": ["500", "0"],
    "trainer.checkpoints": ["-1"],
    "trainer.gradient_clip_val": ["-1", "0"],
    "trainer.threads": ["0"],
    "data.validation": ["-1", "4000"],
    "data.train_samples": ["0", "9999"],
    "logger.histograms": ["-1"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in IMPOSSIBLE.items() for value in values])
def test_case_22_impossible_values(run_cli: RunCli, write: WriteText, key: str, value: str) -> None:
    text = STUDY.format(base="", compare="", norms="", model="cnn")
    level = f"{{model.norm: {{batch: {{model.norm: batch, {key}: {value}}}}}}}"
    path = write("known.yaml", text.replace("{model.norm: [batch]}", level))
    answer = run_cli("plan", path)
    assert answer.status == 2, answer
    assert key.partition(".")[2] in answer.error or "yaml, line" in answer.error


@pytest.mark.parametrize("margin", ["-0.1", "0", ".nan", ".inf", "x", "5"])
def test_case_22_margins(run_cli: RunCli, write: WriteText, margin: str) -> None:
    refused(run_cli, study(write, compare=f", margin: {margin}"), "compare.margin=")
