"""What an offline run has written, read from its log with wandb's own message types."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024  # the log is LevelDB's: blocks, each of records with a header of seven bytes
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def log_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file; a torn end is left out."""
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    at, whole = HEADER, b""  # the file begins with a header of the same size
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + HEADER])
        part = content[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (FULL, FIRST):
            whole = b""
        whole += part
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def offline_folders(root: Path) -> list[Path]:
    """Folders of offline runs anywhere below `root`."""
    return sorted(path for path in root.rglob("offline-run-*") if path.is_dir())


def offline_runs(root: Path) -> list[Any]:
    """The identity of every offline run below `root`."""
    found = []
    for folder in offline_folders(root):
        records = [record for path in folder.glob("*.wandb") for record in log_records(path)]
        found += [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    return found


def offline_bytes(root: Path) -> bytes:
    """All that `wandb sync` would read below `root`: logs unpacked into their records, and files."""
    whole = b""
    for folder in offline_folders(root):
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".wandb":
                whole += b"".join(record.SerializeToString() for record in log_records(path))
            elif path.is_file() and "logs" not in path.parts:  # what the client notes for itself stays here
                whole += path.read_bytes()
    return whole
