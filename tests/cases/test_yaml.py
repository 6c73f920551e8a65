"""K3: a value is what it looks like, in a file as on a command line."""

import pytest

from normbench.spec import parse_yaml
from normbench.study import load_study, make_plan

from ..conftest import RunCli
from .conftest import WriteText

LABELS = """
name: labels
question: Are labels shown as written?
base: {data: {name: mnist_5k}, budget: {steps: 5}}
grid: {norm: {no: {model.norm: none}, bn: {model.norm: batch}}}
seeds: 1
compare: {factor: norm, baseline: bn}
"""


def test_case_03_words_are_words(run_cli: RunCli, write: WriteText) -> None:
    run = write("run.yaml", "data: {name: mnist_5k}\nbudget: {steps: 5}\nlogger: {wandb: off}\n")
    said = run_cli("train", "--config", run, "--print_config")
    assert said.status == 0
    assert parse_yaml(said.out, "printed")["logger"]["wandb"] == "off"
    plan = run_cli("plan", write("no.yaml", LABELS))
    assert "norm no, seed 0" in plan.out
    assert (
        run_cli("plan", write("no.yaml", LABELS.replace("no:", "yes:").replace("bn", "on"))).out.count("norm on") == 1
    )


def test_case_04_merge_keys(run_cli: RunCli, write: WriteText) -> None:
    text = (
        "data: {name: mnist_5k}\nbudget: {steps: 5}\noptimizer: {<<: {lr: 0.01, momentum: 0.5}, name: sgd, lr: 0.02}\n"
    )
    said = run_cli("train", "--config", write("merge.yaml", text), "--print_config")
    assert said.status == 0
    found = parse_yaml(said.out, "printed")["optimizer"]
    assert (found["lr"], found["momentum"]) == (0.02, 0.5)
    twice = run_cli("train", "--config", write("twice.yaml", text.replace("lr: 0.02", "lr: 0.02, lr: 0.03")))
    assert twice.status == 2
    assert "line 3: 'lr' is given twice: keep one" in twice.error


OCTAL = """
name: octal
question: Which batch size is 0100?
base: {data: {name: mnist_5k}, budget: {steps: 5}}
grid: {model.norm: [batch, group], data.batch_size: [SIZE], layout: {1:32: {trainer.virtual_devices: 1}}}
seeds: SEEDS
compare: {factor: model.norm, baseline: batch}
"""


@pytest.mark.parametrize(
    ("size", "seeds", "said"),
    [
        ("0100", "1", "0100 can be read in two ways: write 100, or quote it"),
        ("64", "[001, 010]", "001 can be read in two ways: write 1, or quote it"),
        ("64", "[20261125091812345678]", "seeds: 20261125091812345678 is not a whole number from 0 to"),
        ("64", "[-1]", "seeds: -1 is not a whole number from 0 to"),
        ("'64'", "1", "data.batch_size=64: expected a whole number from 1"),
    ],
)
def test_case_05_numbers_are_those_that_were_written(
    run_cli: RunCli, write: WriteText, size: str, seeds: str, said: str
) -> None:
    path = write("octal.yaml", OCTAL.replace("SIZE", size).replace("SEEDS", seeds))
    for command in ("plan", "run", "status", "report"):
        answer = run_cli(command, path)
        assert answer.status == 2
        assert said in answer.error
    for word in ("--data.batch_size=0100", "--seed=010", "--model.hidden=[010]", "--seed=99999999999999999999999"):
        assert run_cli("train", word, "--print_config").status == 2


def test_case_05_labels_are_those_that_were_written(write: WriteText) -> None:
    """`1:32` was the number 92, drawn on a logarithmic axis."""
    layouts = "{1:32: {trainer.virtual_devices: 1}, 2026-11-25: {trainer.virtual_devices: 2}}"
    two = LABELS.partition("grid")[0] + f"grid: {{layout: {layouts}}}\ncompare: {{factor: layout, baseline: 1:32}}\n"
    path = write("layouts.yaml", two)
    assert {run.cell["layout"] for run in make_plan(load_study(path)).placed} == {"1:32", "2026-11-25"}
