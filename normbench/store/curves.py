"""The curves of many runs, from an index so that repeated reads open only the files of new runs.

The index is a cache: `.curves/*.parquet` in the store's root. Each reading appends one part with the runs that were
new to it, so that ten runs more do not rewrite what ten thousand wrote; many small parts are joined now and then.
A part's runs, the stamps of their files and their points are in its footer; the points lie one run after the other.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from normbench.store.files import remove_leftovers, replace_file
from normbench.store.folder import METRICS
from normbench.store.points import read_points, schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CURVES = ".curves"
VERSION = 1
CHUNK = 2000  # files that are parsed at once
GROUP = 200_000  # points of a row group: what is read to get at one run
PARTS = 8  # small parts that are left lying before they are joined

FLUSH = 2_000_000  # new points that are held before they are written as a part

Piece = tuple["pa.Table", np.ndarray[Any, Any]]  # points, and the place of the run that each belongs to
Stamp = tuple[int, int]  # of metrics.csv: time of its last change in ns, bytes


@dataclass(frozen=True)
class Part:
    """One file of the index: its runs in order, each with its stamp and the place of its points."""

    path: Path
    ids: list[str]
    stamps: list[Stamp]
    counts: list[int]

    @property
    def points(self) -> int:
        """Points of all its runs."""
        return sum(self.counts)


class CurveIndex:
    """The curves of all runs of a store.

    Args:
        root: Folder of the run folders.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / CURVES

    def read(self, ids: Iterable[str], wanted: Iterable[tuple[str, str]] | None = None) -> pd.DataFrame:
        """The points of finished runs in the order of `ids`: run_id, then CURVE_COLUMNS.

        Warns of a metrics.csv that is gone or is not one, and why: its run then has no points.

        Args:
            ids: Runs; one that stands there twice counts once.
            wanted: Pairs (split, metric) to keep, where a metric `x/*` is all that begin with x/; None keeps all. Fewer
                take less memory.
        """
        order = list(dict.fromkeys(ids))
        stamps = self._stamps(order)
        lost = {self.root / run_id / METRICS: "is not there" for run_id in order if run_id not in stamps}
        keep = None if wanted is None else set(wanted)
        pieces: list[Piece] = []
        place = {run_id: i for i, run_id in enumerate(stamps)}
        parts = self._parts()
        missing = dict(stamps)
        for part in parts:
            pieces += self._wanted(part, missing, place, keep)
        fresh: list[tuple[pa.Table, list[str], list[int]]] = []
        for names in _chunks(list(missing), CHUNK):
            points = read_points([self.root / name / METRICS for name in names])
            lost |= points.broken
            owner = np.repeat([place[name] for name in names], points.counts).astype(np.int32)
            pieces.append(_filtered(points.table, owner, keep))
            whole = [i for i, name in enumerate(names) if self.root / name / METRICS not in points.broken]
            fresh.append((points.table, [names[i] for i in whole], [points.counts[i] for i in whole]))
            if sum(table.num_rows for table, _, _ in fresh) >= FLUSH:
                self._append(fresh, stamps)
                fresh = []
        if missing:
            self._append(fresh, stamps)
            self._join(parts)
        del fresh
        if lost:
            path, why = next(iter(lost.items()))
            more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
            warnings.warn(f"{path} {why}{more}: its run has no curve", UserWarning, stacklevel=2)
        return _frame(pieces, list(stamps))

    def _stamps(self, ids: Sequence[str]) -> dict[str, Stamp]:
        found: dict[str, Stamp] = {}
        for run_id in ids:
            try:
                status = os.stat(f"{self.root}/{run_id}/{METRICS}")  # noqa: PTH116  (100,000 times)
            except OSError:
                continue
            found[run_id] = (status.st_mtime_ns, status.st_size)
        return found

    def _parts(self) -> list[Part]:
        """The readable parts, newest first; an unreadable one is removed, since it is only a cache."""
        import pyarrow as pa
        from pyarrow import parquet

        found: list[tuple[int, Part]] = []
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                written = path.stat().st_mtime_ns
                facts = json.loads(parquet.read_schema(path).metadata[b"normbench"])
                if facts["version"] != VERSION:
                    raise ValueError("another version")
                stamps = [(int(a), int(b)) for a, b in facts["stamps"]]
                part = Part(path, list(facts["ids"]), stamps, list(facts["counts"]))
            except FileNotFoundError:
                continue  # joined with others by another process just now
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
                _remove(path)
                continue
            found.append((written, part))
        return [part for _, part in sorted(found, key=lambda item: -item[0])]

    def _wanted(
        self, part: Part, missing: dict[str, Stamp], place: dict[str, int], keep: set[tuple[str, str]] | None
    ) -> list[Piece]:
        """The points of the runs in `missing` that a part has as they are now; they are taken out of `missing`."""
        import pyarrow as pa
        from pyarrow import parquet

        owner_of = np.full(len(part.ids), -1, dtype=np.int32)
        for i, (run_id, stamp) in enumerate(zip(part.ids, part.stamps, strict=True)):
            if missing.get(run_id) == stamp:
                owner_of[i] = place[run_id]
        if not (owner_of >= 0).any():
            return []
        owners = np.repeat(owner_of, part.counts)
        # Read whole before any of it counts: a part that breaks off half-way gives nothing.
        pieces: list[Piece] = []
        try:
            with parquet.ParquetFile(part.path) as file:
                if file.metadata.num_rows != len(owners):
                    raise ValueError("not the points that its footer says")
                start = 0
                for group in range(file.num_row_groups):
                    end = start + file.metadata.row_group(group).num_rows
                    owner = owners[start:end]
                    if (owner >= 0).any():
                        pieces.append(_filtered(file.read_row_group(group).cast(schema()), owner, keep))
                    start = end
        except FileNotFoundError:
            return []
        except (OSError, ValueError, pa.ArrowException):
            _remove(part.path)
            return []
        for place_in_part in np.flatnonzero(owner_of >= 0):
            missing.pop(part.ids[place_in_part], None)
        return pieces

    def _append(self, fresh: list[tuple[pa.Table, list[str], list[int]]], stamps: dict[str, Stamp]) -> None:
        import pyarrow as pa

        ids = [name for _, names, _ in fresh for name in names]
        counts = [count for _, _, each in fresh for count in each]
        if ids:
            table = pa.concat_tables([table for table, _, _ in fresh]).unify_dictionaries()
            self._write(table, ids, [stamps[name] for name in ids], counts)

    def _write(self, table: pa.Table, ids: list[str], stamps: Sequence[Stamp], counts: list[int]) -> bool:
        """Writes a part; False where the store can only be read, and is then read in full each time."""
        from pyarrow import parquet

        facts = {"version": VERSION, "ids": ids, "stamps": stamps, "counts": counts}
        table = table.replace_schema_metadata({"normbench": json.dumps(facts)})
        path = self.folder / f"{uuid4().hex}.parquet"
        try:
            self.folder.mkdir(exist_ok=True)
            remove_leftovers(self.folder)
            replace_file(path, lambda file: parquet.write_table(table, file, row_group_size=GROUP, compression="zstd"))
        except OSError:
            return False
        return True

    def _join(self, parts: list[Part]) -> None:
        """Joins small parts into one where there are many; runs whose files changed or went are left out."""
        import pyarrow as pa
        from pyarrow import parquet

        small = [part for part in parts if part.points < GROUP]
        if len(small) < PARTS:
            return
        seen: set[str] = set()
        tables, ids, stamps, counts = [], [], [], []
        for part in small:
            current = self._stamps(part.ids)
            keep = [
                current.get(run_id) == stamp and run_id not in seen
                for run_id, stamp in zip(part.ids, part.stamps, strict=True)
            ]
            try:
                table = parquet.read_table(part.path).cast(schema())
            except (OSError, ValueError, pa.ArrowException):
                continue
            if table.num_rows != part.points:
                continue
            tables.append(table.filter(pa.array(np.repeat(keep, part.counts))))
            for i in (int(place) for place in np.flatnonzero(keep)):
                seen.add(part.ids[i])
                ids.append(part.ids[i])
                stamps.append(part.stamps[i])
                counts.append(part.counts[i])
        if not tables or self._write(pa.concat_tables(tables).unify_dictionaries(), ids, stamps, counts):
            for part in small:
                _remove(part.path)


def _filtered(table: pa.Table, owner: np.ndarray[Any, Any], keep: set[tuple[str, str]] | None) -> Piece:
    """The rows that have an owner and, unless `keep` is None, one of its pairs (split, metric)."""
    import pyarrow as pa

    mask = owner >= 0
    if keep is not None:
        split, metric = (table[name].combine_chunks().to_pandas() for name in ("split", "metric"))
        chosen = np.zeros(len(mask), dtype=bool)
        for one, other in keep:
            begins = other.removesuffix("*")
            known = [name for name in metric.cat.categories if name.startswith(begins)] if other != begins else [other]
            chosen |= ((split == one) & metric.isin(known)).to_numpy(dtype=bool)
        mask &= chosen
    return (table, owner) if mask.all() else (table.filter(pa.array(mask)), owner[mask])


def _frame(pieces: list[Piece], ids: list[str]) -> pd.DataFrame:
    """One data frame in the order of the runs; names are categories, which take little memory."""
    import pandas as pd
    import pyarrow as pa

    # Pieces mostly lie in the runs' order already; sorting all points takes longer than all the rest.
    pieces.sort(key=lambda piece: int(piece[1][0]) if len(piece[1]) else 0)
    table = pa.concat_tables([schema().empty_table(), *(table for table, _ in pieces)]).unify_dictionaries()
    owner = np.concatenate([np.empty(0, dtype=np.int32), *(owner for _, owner in pieces)])
    pieces.clear()
    if (owner[1:] < owner[:-1]).any():
        order = np.argsort(owner, kind="stable")
        owner, table = owner[order], table.take(pa.array(order))
    frame = table.to_pandas(self_destruct=True, split_blocks=True)
    runs = pd.Categorical.from_codes(owner, pd.Index(ids, dtype="str"))
    frame.insert(0, "run_id", pd.Series(runs, index=frame.index))
    return frame


def _chunks(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
