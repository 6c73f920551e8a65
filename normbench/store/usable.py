"""Results that were found usable, so that ten thousand of them are not opened to say that they are there.

A cache, `.usable` in the store's root: a line a result, added to by whoever opens one; a later line counts. It is
text, since reading it must not take longer than `normbench plan` may.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from normbench.store.result import LAYOUT

USABLE = ".usable"

Stamp = tuple[int, int]  # of result.json: time of its last change in ns, bytes


class Usable:
    """Stamps of the results that were opened and found usable.

    Args:
        root: Folder of the run folders.
        compared: Whether configurations are compared with ids; results that were not are then opened again.
    """

    def __init__(self, root: Path, compared: bool) -> None:
        self.path = root / USABLE
        # A file of another layout has lines of another kind, and none of them counts.
        self._kinds = {f"{LAYOUT}compared"} if compared else {f"{LAYOUT}compared", f"{LAYOUT}opened"}
        self._kind = f"{LAYOUT}compared" if compared else f"{LAYOUT}opened"
        self._stamps: dict[str, Stamp] | None = None

    def stamps(self) -> Mapping[str, Stamp]:
        """Stamp of each usable result, by run id."""
        if self._stamps is None:
            self._stamps = {}
            with suppress(OSError):
                for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                    parts = line.split(" ")
                    # A line that was torn, or written over by another process, is none.
                    if len(parts) == 4 and parts[3] in self._kinds and parts[1].isdigit() and parts[2].isdigit():
                        self._stamps[parts[0]] = int(parts[1]), int(parts[2])
        return self._stamps

    def add(self, fresh: Mapping[str, Stamp]) -> None:
        """Notes results that were opened; where nothing can be written they are opened again next time."""
        known = self.stamps()
        assert isinstance(known, dict)
        known.update(fresh)
        text = "".join(f"{run_id} {changed} {size} {self._kind}\n" for run_id, (changed, size) in fresh.items())
        with suppress(OSError), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
