"""Results to one tidy table, a row a run, with an index so that a second reading opens only what is new."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.store.axes import axis_columns
from normbench.store.columns import RESULT_COLUMNS
from normbench.store.files import remove_leftovers, replace_file
from normbench.store.folder import RESULT
from normbench.store.result import LAYOUT, Result
from normbench.store.usable import Stamp

if TYPE_CHECKING:
    import pandas as pd

INDEX = "index.parquet"

TEXT = frozenset({"study", "run_id", "dataset", "model", "norm", "code_digest", "commit", "device", "origin"})
WHOLE = frozenset(
    {"parameters", "batch_size", "seed", "steps", "samples", "devices", "virtual_devices"}
    | {"device_batch", "mtime_ns", "bytes", "layout"}
)
# Whole numbers, or missing.
PERHAPS_WHOLE = frozenset({"diverged_at_step", "images_per_statistic", "values_per_statistic"})
_KEPT = (*RESULT_COLUMNS[1:], "origin", "mtime_ns", "bytes", "layout")  # of the index: a run has no one study

ReadResult = Callable[[str], Result | None]  # the result of a run, None if it is missing or broken


def row(result: Result) -> dict[str, Any]:
    """A result as a row of the results table; the study is the asker's."""
    config, environment = result["config"], result["environment"]
    facts: dict[str, Any] = {
        **{key: result.get(key) for key in RESULT_COLUMNS if key in result},
        **{key: value for key, value in result["metrics"].items() if key in RESULT_COLUMNS},
        "dataset": result["dataset"]["name"],
        "model": config["model"]["name"],
        "norm": config["model"]["norm"],
        "batch_size": config["data"]["batch_size"],
        "seed": config["seed"],
        "code_digest": result.get("code_digest") or environment.get("code_digest"),
        "commit": result.get("commit") or environment.get("commit") or environment.get("git_commit"),
        "device": environment.get("device"),
    }
    return {key: facts.get(key) for key in RESULT_COLUMNS[1:]}


def origin(result: Result) -> str:
    """What a run was made with, as JSON: its environment, and the digests of its data files."""
    return json.dumps({"environment": result["environment"], "md5": result["dataset"].get("md5") or {}})


def results_table(
    study: str, rows: pd.DataFrame, cells: Mapping[str, Mapping[str, Any]], axes: Collection[str] | None = None
) -> pd.DataFrame:
    """RESULT_COLUMNS of a study's finished runs, then the axes that are not among them, sorted by axes and seed.

    Args:
        study: What the column `study` says.
        rows: Rows of finished runs, from `ResultIndex.rows`.
        cells: Cell (axis to label) of every planned run's id.
        axes: Names of the axes; None: those of the first cell.
    """
    import pandas as pd

    columns = axis_columns(list(next(iter(cells.values()), {}) if axes is None else axes))
    # A grouped axis has labels that no single configuration key has, so labels come from the plan.
    ids = rows["run_id"].tolist()
    labels = {name: _sortable([cells[run_id][axis] for run_id in ids]) for axis, name in columns.items()}
    series = {name: pd.Series(values, index=rows.index) for name, values in labels.items()}
    given = {"study": pd.Series(study, index=rows.index, dtype="str")} | series
    table = pd.DataFrame({name: given[name] if name in given else rows[name] for name in (*RESULT_COLUMNS, *series)})
    return table.sort_values([*labels, "seed"], kind="stable", ignore_index=True)


def _sortable(labels: list[Any]) -> list[Any] | pd.Categorical:
    """Labels as they are; numbers among names (`[same, 1]`), which do not compare, get an order: numbers first."""
    if len({isinstance(label, str) for label in labels}) < 2:
        return labels
    import pandas as pd

    order = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    return pd.Categorical(labels, categories=order, ordered=True)


class ResultIndex:
    """Rows of all results of a store, kept in index.parquet in its root. It is a cache: an unusable one is made anew.

    Args:
        root: Folder of the run folders.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / INDEX

    def rows(
        self, stamps: Mapping[str, Stamp], read: ReadResult, present: Collection[str] | None = None
    ) -> pd.DataFrame:
        """RESULT_COLUMNS without `study` of the runs whose result counts.

        Args:
            stamps: Stamp of result.json of each wanted run whose result counts.
            read: Reads a result that the index does not have as it is now.
            present: Ids of all run folders; None: unknown. Rows of others are dropped, those of other studies stay.
        """
        import pandas as pd

        index, known = self._known(stamps)
        new = sorted(stamps.keys() - known)
        if new:
            if len(index):
                stale = index["run_id"].isin(new)
                gone = ~index["run_id"].isin(present) if present is not None else False
                index = index[~(stale | gone)]
            rows = []
            for run_id in new:
                result = read(run_id)
                if result is not None:
                    changed, size = stamps[run_id]
                    facts = {"mtime_ns": changed, "bytes": size, "layout": LAYOUT}
                    rows.append(row(result) | {"origin": origin(result)} | facts)
            fresh = _typed(pd.DataFrame(rows, columns=list(_KEPT)))
            index = pd.concat([index, fresh], ignore_index=True) if len(index) else fresh
            if rows:
                self._write(index)
            known |= {facts["run_id"] for facts in rows}
        wanted = index[index["run_id"].isin(known)] if len(known) < len(index) else index
        return wanted[list(RESULT_COLUMNS[1:])].reset_index(drop=True)

    def origins(self, stamps: Mapping[str, Stamp], read: ReadResult) -> dict[str, str]:
        """`origin` of each run of `stamps`: see `rows`."""
        index, known = self._known(stamps, "origin")
        found = {run_id: text for run_id, text in zip(index["run_id"], index["origin"], strict=True) if run_id in known}
        for run_id in stamps.keys() - known:  # the index could not be written
            result = read(run_id)
            if result is not None:
                found[run_id] = origin(result)
        return found

    def _known(self, stamps: Mapping[str, Stamp], *columns: str) -> tuple[pd.DataFrame, set[str]]:
        """The index, or some of its columns, and the runs of `stamps` that it has as they are now."""
        index = self._read(columns)
        stamped = zip(index["run_id"], index["mtime_ns"], index["bytes"], strict=True)
        return index, {run_id for run_id, changed, size in stamped if stamps.get(run_id) == (changed, size)}

    def _read(self, columns: Sequence[str] = ()) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa
        from pyarrow import parquet

        empty = _typed(pd.DataFrame(columns=list(_KEPT)))
        try:
            if list(parquet.read_schema(self.path).names) != list(_KEPT):
                return empty
            stamps = ["run_id", "mtime_ns", "bytes", "layout"]
            index = pd.read_parquet(self.path, columns=[*columns, *stamps] if columns else None)
            usable = bool((index["layout"] == LAYOUT).all()) and index["run_id"].is_unique
        except (OSError, ValueError, KeyError, pa.ArrowException):  # not there, or not Parquet
            return empty
        return index if usable else empty

    def _write(self, index: pd.DataFrame) -> None:
        # Of several processes the last one wins; what the others found is read once more.
        with suppress(OSError):  # a folder that can only be read is read in full each time
            replace_file(self.path, lambda file: index.to_parquet(file, index=False))
            remove_leftovers(self.root)


def stamp(path: str) -> Stamp | None:
    """Stamp of a result.json; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  (100,000 times)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def result_stamps(root: Path, ids: Collection[str]) -> dict[str, Stamp]:
    """Stamp of result.json of each of `ids` that has one."""
    found = {run_id: stamp(f"{root}/{run_id}/{RESULT}") for run_id in ids}
    return {run_id: each for run_id, each in found.items() if each is not None}


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """One type a column, whatever the first rows hold: a study without a diverged run still has numbers there."""
    kinds: dict[str, str] = {}
    for name in frame.columns:
        if name in TEXT:
            kinds[name] = "str"
        else:
            kinds[name] = "int64" if name in WHOLE else "Int64" if name in PERHAPS_WHOLE else "float64"
    return frame.astype(kinds)
