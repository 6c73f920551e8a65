"""What `plan` makes of the results in a store. The results are written, not trained: no clock is asked."""

import os
import re
from pathlib import Path
from typing import Any

from normbench.machine import processor
from normbench.spec import resolve, run_config, run_id, to_dict
from normbench.store import Store
from normbench.study import estimate, load_study, make_plan
from normbench.study.estimate import WORKER_SECONDS

from ..conftest import RunCli
from ..store.conftest import run_result
from .conftest import Write

HERE = {"processor": processor(), "cores": os.cpu_count()}


def store_result(store: Store, config: Any, factor: float, **environment: Any) -> None:
    """The result of a run that took `factor` times its estimate on the machine that is named."""
    own, seconds = run_id(config), factor * estimate(config)
    result = run_result(own, config=to_dict(config), seconds=0.9 * seconds, wall_seconds=seconds)
    store.folder(own).write_result(result | {"environment": {**result["environment"], **environment}})


def told(run_cli: RunCli, *words: object) -> tuple[float, str]:
    """Seconds and their basis."""
    said = run_cli("plan", *words, "--workers", 1)
    found = re.search(r"about (\d+) s with 1 worker \((.*)\)", said.out)
    assert found, said
    return float(found[1]), found[2]


def test_a_plan_goes_by_what_this_machine_measured(run_cli: RunCli, study: Write, tmp_path: Path) -> None:
    path, store = study(seeds=2), Store(tmp_path / "runs")
    words = (path, "--runs", store.root)
    runs = make_plan(load_study(path)).runs
    whole = sum(estimate(run.config) for run in runs)
    far = resolve(run_config({**RUN, "seed": 7}))
    store_result(store, far, 50, processor="another", cores=1)
    assert told(run_cli, *words) == (round(WORKER_SECONDS + whole), "a rough figure: nothing of this study has run yet")

    other = resolve(run_config({**RUN, "budget.steps": 400}))
    store_result(store, other, 10, **HERE)
    seconds, basis = told(run_cli, *words)
    assert basis == "from 1 finished run of other studies"
    assert abs(seconds - (WORKER_SECONDS + 10 * whole)) <= 1

    first = runs[0]
    store_result(store, first.config, 20, **HERE)
    seconds, basis = told(run_cli, *words)
    assert basis == "from 1 finished run"
    same = sum(20 * estimate(r.config) for r in runs[1:] if r.cell == first.cell)
    rest = sum(
        (10 if r.cell["model.norm"] == "batch" else 20) * estimate(r.config) for r in runs if r.cell != first.cell
    )
    assert abs(seconds - (WORKER_SECONDS + same + rest)) <= 1


def test_results_that_cannot_be_read_or_need_code_of_others_are_left_out(
    run_cli: RunCli, study: Write, tmp_path: Path
) -> None:
    path, store = study(), Store(tmp_path / "runs")
    for text in ("", "{}"):
        folder = store.folder("0123456789abcdef")
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "result.json").write_text(text)
        assert told(run_cli, path, "--runs", store.root)[1].startswith("a rough figure")
    marker = tmp_path / "imported"
    (tmp_path / "theirs.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = to_dict(resolve(run_config(RUN))) | {"plugins": [str(tmp_path / "theirs.py")]}
    result = run_result("fedcba9876543210", config=config)
    Store(tmp_path / "runs").folder("fedcba9876543210").write_result(result)
    assert told(run_cli, path, "--runs", store.root)[1].startswith("a rough figure")
    assert not marker.exists()


RUN = {
    "data.name": "mnist_5k",
    "model.name": "mlp",
    "model.hidden": [8],
    "model.norm": "batch",
    "budget.steps": 4,
    "trainer.accelerator": "cpu",
}
