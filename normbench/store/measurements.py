"""What the probes of runs found, as one tidy table: a row a number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from normbench.store.columns import MEASUREMENT_COLUMNS
from normbench.store.folder import ARRAYS

if TYPE_CHECKING:
    import pandas as pd

    from normbench.store.store import Store

SPLIT = "probe"  # in metrics.csv


def measurements(store: Store, ids: Sequence[str], probe: str, arrays: bool = True) -> pd.DataFrame:
    """MEASUREMENT_COLUMNS of what one probe found in runs; a run that lacks it has no rows.

    `layer` is "" for a number of the whole network; `unit` is the place in an array ("3", or "3,0" in one of two
    axes), "" for a single number.

    Args:
        store: Where the runs are.
        ids: The runs.
        probe: Name of the probe.
        arrays: Whether those of arrays/PROBE.npz are wanted too.
    """
    import pandas as pd

    curves = store.curves(ids, wanted=[(SPLIT, f"{probe}/*")])
    parts = [name.removeprefix(f"{probe}/").rpartition("/") for name in curves["metric"].astype(str)]
    frame = curves[["run_id", "step", "samples"]].assign(
        run_id=curves["run_id"].astype(str),
        probe=probe,
        layer=[layer for layer, _, _ in parts],
        unit="",
        quantity=[name for _, _, name in parts],
    )
    frame["value"] = curves["value"].astype(float)
    rows = itertools.chain.from_iterable(_of_arrays(store, run_id, probe) for run_id in ids) if arrays else ()
    more = pd.DataFrame(rows, columns=["run_id", "probe", "step", "layer", "unit", "quantity", "value"])
    if not more.empty:
        # Images of a step: where a probe gives arrays alone, the curves do not say.
        seen = store.curves(ids)[["run_id", "step", "samples"]].astype({"run_id": str}).drop_duplicates()
        more = more.merge(seen, on=["run_id", "step"], how="left")
        more["samples"] = more["samples"].fillna(0).astype(int)
        frame = pd.concat([frame, more], ignore_index=True)
    return frame[list(MEASUREMENT_COLUMNS)]


def _of_arrays(store: Store, run_id: str, probe: str) -> Iterator[tuple[Any, ...]]:
    path = store.folder(run_id).path / ARRAYS / f"{probe}.npz"
    if not path.is_file():
        return
    with np.load(path, allow_pickle=False) as file:
        steps = file["step"].tolist()
        for key in file.files:
            if key == "step":
                continue
            layer, _, quantity = key.rpartition("/")
            for step, values in zip(steps, file[key], strict=True):
                for place, value in np.ndenumerate(values):
                    yield run_id, probe, step, layer, ",".join(map(str, place)), quantity, float(value)
