"""All run folders of a root, shared by every study; a study is the list of run ids that its plan gives."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.errors import RunFolderError
from normbench.spec.identity import StoredIds
from normbench.store.files import write_atomically
from normbench.store.folder import RUN_ID, RunFolder, State
from normbench.store.leftovers import clear_file, clear_folder
from normbench.store.result import Result, RunIdOf
from normbench.store.table import ResultIndex, result_stamps, results_table
from normbench.store.usable import Stamp, Usable

if TYPE_CHECKING:
    import pandas as pd


STUDIES = "studies"


def open_store(root: Path) -> Store:
    """The store at `root`, which takes no result whose configuration has another id than its folder."""
    return Store(root, StoredIds().of)


class Store:
    """The run folders below `root`.

    Args:
        root: Folder of the run folders, `runs/`.
        run_id_of: Tells the id of a configuration (nested mapping); a result whose configuration has another id
            than its folder is broken. None leaves that unchecked.

    Example:
        >>> store = Store("runs")
        >>> store.folder("0123456789abcdef").path
        PosixPath('runs/0123456789abcdef')
    """

    def __init__(self, root: str | Path, run_id_of: RunIdOf | None = None) -> None:
        self.root, self._run_id_of = Path(root), run_id_of
        self._usable = Usable(self.root, run_id_of is not None)
        self._members: tuple[dict[str, Stamp], dict[str, tuple[str, ...]]] = ({}, {})

    def folder(self, run_id: str) -> RunFolder:
        """The folder of a run, whether it is there or not."""
        return RunFolder(self.root / run_id, self._run_id_of)

    def present(self) -> set[str]:
        """Names of everything that lies in the root and could be a run folder."""
        with suppress(OSError), os.scandir(self.root) as entries:
            return {entry.name for entry in entries if not entry.name.startswith(".")}
        return set()

    def known(self, study: str) -> set[str]:
        """Ids of all runs that have a folder, and of those that a study was last written down with."""
        return {name for name in self.present() if RUN_ID.fullmatch(name)} | self.ids_of(study)

    def finished(self, ids: Iterable[str] | None = None) -> set[str]:
        """Those of `ids` (None: of all runs) that have a result that counts."""
        return set(self._looked_at(ids)[0])

    def latest(self, ids: Iterable[str] | None = None) -> list[str]:
        """As `finished`, those whose results were written last first."""
        stamps = self._looked_at(ids)[0]
        return sorted(stamps, key=lambda run_id: stamps[run_id], reverse=True)

    def broken(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """Why, for those of `ids` (None: of all runs) that have a result.json that does not count."""
        return self._looked_at(ids)[1]

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """What each run is doing, in the order of `ids`."""
        order = list(dict.fromkeys(ids))
        done, broken = self._looked_at(order)
        present = self.present()
        return {
            run_id: "done"
            if run_id in done
            else self.folder(run_id).unfinished_state(broken=run_id in broken)
            if run_id in present
            else "waiting"
            for run_id in order
        }

    def _looked_at(self, ids: Iterable[str] | None) -> tuple[dict[str, Stamp], dict[str, str]]:
        """Runs with a usable result, and reasons for those with an unusable one."""
        present = self.present()
        wanted = {name for name in present if RUN_ID.fullmatch(name)} if ids is None else present.intersection(ids)
        stamps = result_stamps(self.root, wanted)
        known = self._usable.stamps()
        broken: dict[str, str] = {}
        fresh: dict[str, Stamp] = {}
        for run_id in [run_id for run_id, stamp in stamps.items() if known.get(run_id) != stamp]:
            why = self.folder(run_id).problem()
            if why is None:
                fresh[run_id] = stamps[run_id]
            else:
                broken[run_id] = why
        if fresh:
            self._usable.add(fresh)
        return {run_id: stamp for run_id, stamp in stamps.items() if run_id not in broken}, broken

    def table(
        self, cells: Mapping[str, Mapping[str, Any]], study: str = "", axes: Collection[str] | None = None
    ) -> pd.DataFrame:
        """The results table of the finished runs among `cells`; broken results are left out: see `broken`.

        Args:
            cells: Cell (axis to label) of every planned run's id.
            study: The study that asks: its name becomes the column `study`.
            axes: Names of the axes; None: those of the first cell. For the columns see `axis_columns`.
        """
        rows = ResultIndex(self.root).rows(self._looked_at(cells)[0], self._result, self.present())
        return results_table(study, rows, cells, axes)

    def origins(self, ids: Iterable[str]) -> dict[str, str]:
        """What each finished run of `ids` was made with, as JSON: see `normbench.store.table.origin`."""
        return ResultIndex(self.root).origins(self._looked_at(ids)[0], self._result)

    def _result(self, run_id: str) -> Result | None:
        with suppress(RunFolderError):
            return RunFolder(self.root / run_id).result()  # its configuration was compared with its id just before
        return None

    def curves(self, ids: Iterable[str], wanted: Iterable[tuple[str, str]] | None = None) -> pd.DataFrame:
        """The logged points of finished runs: see `normbench.store.curves.CurveIndex.read`."""
        from normbench.store.curves import CurveIndex

        return CurveIndex(self.root).read(ids, wanted)

    # Which study uses which run.

    def record(self, study: str, ids: Iterable[str], cells: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Writes down that `study` consists of `ids`, instead of what was written before.

        Args:
            study: Its name.
            ids: Its runs.
            cells: Each run's labels in the study, by axis.
        """
        path, names = self.root / STUDIES / f"{study}.json", sorted(set(ids))
        clear_folder(path.parent)
        clear_file(path)
        tree = {"study": study, "ids": names, "cells": {name: dict(cells[name]) for name in names} if cells else {}}
        text = json.dumps(tree, indent=0, ensure_ascii=False) + "\n"
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text(encoding="utf-8") == text:
                return
        write_atomically(path, text)

    def labels_of(self, study: str, run_id: str) -> dict[str, Any]:
        """A run's labels in a study, by axis; empty where they were not written down."""
        try:
            tree = json.loads((self.root / STUDIES / f"{study}.json").read_text(encoding="utf-8"))
            return dict(tree["cells"][run_id])
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def ids_of(self, study: str) -> set[str]:
        """The runs that a study was last written down with; empty for an unknown one or an unreadable record."""
        return _recorded(self.root / STUDIES / f"{study}.json")[1]

    def studies(self) -> list[str]:
        """Names of all studies with a readable record, sorted."""
        return sorted({study for studies in self.memberships().values() for study in studies})

    def memberships(self) -> dict[str, tuple[str, ...]]:
        """The studies of every run that one is written down with, sorted; read again where a record changed."""
        paths = {path.name: path for path in (self.root / STUDIES).glob("*.json")}
        stamps: dict[str, Stamp] = {}
        for name, path in paths.items():
            with suppress(OSError):
                status = path.stat()
                stamps[name] = (status.st_mtime_ns, status.st_size)
        if stamps != self._members[0]:
            found: dict[str, list[str]] = {}
            for study, ids in sorted(_recorded(path) for path in paths.values()):
                for run_id in ids:
                    found.setdefault(run_id, []).append(study)
            self._members = (stamps, {run_id: tuple(studies) for run_id, studies in found.items()})
        return self._members[1]

    def studies_of(self, run_id: str) -> tuple[str, ...]:
        """The studies that use a run, sorted."""
        return self.memberships().get(run_id, ())


def _recorded(path: Path) -> tuple[str, set[str]]:
    """Study and run ids of a record; no ids where it cannot be read."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return str(tree["study"]), {str(run_id) for run_id in tree["ids"]}
    except (OSError, ValueError, TypeError, KeyError):
        return path.stem, set()
