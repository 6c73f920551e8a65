"""What probes found, read back: the tidy table, the command, the figures. A probe changes none of a run's numbers."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert

from normbench.report import gather
from normbench.report.figures import drawn_figures
from normbench.report.figures.probes import DRAWINGS
from normbench.spec import resolve, yaml_text
from normbench.spec.registry import PROBES
from normbench.store import Store
from normbench.store.measurements import measurements
from normbench.study import Plan, load_study, make_plan
from normbench.train import train

from ..conftest import RunCli
from ..train.runs import TINY, curve, lasting, tiny

BUILT_IN = [name for name in PROBES if "normbench/probes" in Path(PROBES.get(name).source).as_posix()]
OPTIONS: dict[str, dict[str, object]] = {"robustness": {"images": 50, "steps": 3}}  # so that it takes no long


class Lab:
    """Four runs with every probe, and the same without any."""

    def __init__(self, root: Path) -> None:
        self.root, self.study = root, root / "probed.yaml"
        self.plan = self._trained("probed", {"probes": {name: OPTIONS.get(name, {}) for name in BUILT_IN}})
        self.plain = self._trained("plain", {})

    def _trained(self, name: str, more: dict[str, object]) -> Plan:
        tree = {
            "name": name,
            "question": "What do the probes see?",
            "base": {**TINY, "model.activation": "sigmoid", "model.dropout": 0.2, **more},
            "grid": {"model.norm": ["none", "batch"]},
            "seeds": 2,
            "compare": {"factor": "model.norm", "baseline": "batch"},
        }
        path = self.root / f"{name}.yaml"
        path.write_text(yaml_text(tree))
        plan = make_plan(load_study(path))
        for run in plan.runs:
            train(run.config, self.root / name / run.id)
        return plan


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    return Lab(tmp_path_factory.mktemp("probes"))


def test_a_list_of_probes_is_a_mapping_to_their_defaults() -> None:
    probes = resolve(tiny(probes=BUILT_IN)).probes
    assert list(probes) == BUILT_IN
    assert probes["layers"] == {"times": 10, "at": []}


def test_no_probe_changes_a_number_of_a_run(lab: Lab) -> None:
    assert lab.plan.ids == lab.plain.ids
    for run_id in lab.plan.ids:
        with_them, without = (Store(lab.root / name).folder(run_id) for name in ("probed", "plain"))
        one, two = with_them.result(), without.result()
        assert one is not None
        assert two is not None
        apart = ("config", "probes")
        assert {k: v for k, v in lasting(dict(one)).items() if k not in apart} == {
            k: v for k, v in lasting(dict(two)).items() if k not in apart
        }
        rows = [row for row in curve(with_them.path) if row["split"] != "probe"]
        assert rows == curve(without.path)


@pytest.mark.parametrize("probe", BUILT_IN)
def test_the_table_has_what_the_run_folder_has(lab: Lab, probe: str) -> None:
    store, run_id = Store(lab.root / "probed"), lab.plan.ids[0]
    table = measurements(store, [run_id], probe)
    rows = [row for row in curve(store.folder(run_id).path) if row["metric"].startswith(f"{probe}/")]
    single = table[table["unit"] == ""]
    names = [
        f"{probe}/{layer}/{q}" if layer else f"{probe}/{q}"
        for layer, q in zip(single["layer"], single["quantity"], strict=True)
    ]
    assert names == [row["metric"] for row in rows]
    np.testing.assert_array_equal(single["value"], [float(row["value"]) for row in rows])
    assert single["step"].tolist() == [int(row["step"]) for row in rows]
    path = store.folder(run_id).path / "arrays" / f"{probe}.npz"
    if not path.exists():
        assert len(single) == len(table)
        return
    with np.load(path) as file:
        assert len(table) - len(single) == sum(file[key].size for key in file.files if key != "step")
        key = next(key for key in file.files if key != "step")
        layer, _, quantity = key.rpartition("/")
        mine = table[(table["layer"] == layer) & (table["quantity"] == quantity) & (table["unit"] == "0")]
        np.testing.assert_array_equal(mine["value"], file[key].reshape(len(file["step"]), -1)[:, 0])
        assert mine["step"].tolist() == file["step"].tolist()


def test_the_command_writes_csv_and_parquet(lab: Lab, run_cli: RunCli) -> None:
    files = [lab.root / "found.csv", lab.root / "found.parquet"]
    for file in files:
        said = run_cli("probes", lab.study, "--runs", lab.root / "probed", "--probe", "activations", "--to", file)
        assert (said.status, said.err) == (0, "")
        assert "of 4 runs" in said.out
    csv, parquet = pd.read_csv(files[0], keep_default_na=False), pd.read_parquet(files[1])
    heading = ["norm", "seed", "run_id", "probe", "step", "samples", "layer", "unit", "quantity", "value"]
    assert list(csv) == list(parquet) == heading
    assert len(csv) == len(parquet)
    assert set(parquet["norm"]) == {"none", "batch"}
    assert run_cli("probes", lab.study, "--probe", "activation", "--to", files[0]).error.count(
        "did you mean 'activations'"
    )
    assert run_cli("probes", lab.root / "plain.yaml", "--to", files[0]).status == 2
    assert "end in .csv or .parquet" in run_cli("probes", lab.study, "--to", lab.root / "x.txt").error


def test_runs_without_are_told(lab: Lab, run_cli: RunCli) -> None:
    said = run_cli("probes", lab.study, "--runs", lab.root / "plain", "--to", lab.root / "none.csv")
    assert said.status == 1
    assert "no run of probed has measured" in said.error


def test_every_drawing_is_in_the_report(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    figures = drawn_figures(gather(lab.study, lab.root / "probed"))
    assert {name for name in figures if name.startswith("probe_")} == {f"probe_{name}" for name in BUILT_IN}
    for drawing in DRAWINGS:
        figure = figures[f"probe_{drawing.probe}"]
        svg = vl_convert.vegalite_to_svg(figure.spec, show_warnings=True)
        assert "NaN" not in svg
        assert len(re.findall(r'class="mark-group role-scope cell"', svg)) >= 1
        assert figure.caption.endswith(".")
        assert len(figure.data)
    assert "WARN" not in "".join(capfd.readouterr())
    assert not [name for name in drawn_figures(gather(lab.root / "plain.yaml", lab.root / "plain")) if "probe" in name]
