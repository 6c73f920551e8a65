"""metrics.csv files to one Arrow table, many at a time."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from normbench.store.columns import CURVE_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

HEADER = ",".join(CURVE_COLUMNS)


class Points(NamedTuple):
    """Logged points of several files, one file after the other.

    Args:
        table: CURVE_COLUMNS of all of them.
        counts: Points of each file, in the order asked for; 0 for one that is missing or broken.
        broken: Why, for each file that holds anything but points.
    """

    table: pa.Table
    counts: list[int]
    broken: dict[Path, str]


@functools.cache
def schema() -> pa.Schema:
    """Types of CURVE_COLUMNS."""
    import pyarrow as pa

    names = pa.dictionary(pa.int32(), pa.string())
    kinds = (pa.int64(), pa.int64(), pa.float64(), pa.float64(), names, names, pa.float64())
    return pa.schema(list(zip(CURVE_COLUMNS, kinds, strict=True)))


def read_points(paths: Sequence[Path]) -> Points:
    """The points of all files. A last line without its end is still being written and is left out."""
    import pyarrow as pa

    bodies, broken = [], {}
    for path in paths:
        try:
            bodies.append(_body(path))
        except ValueError as error:
            broken[path] = str(error)
            bodies.append(b"")
    counts = [body.count(b"\n") for body in bodies]
    try:
        # One parse of all files: opening a parser for each takes most of the time of a large study.
        table = _parsed(b"".join(bodies))
        whole = table.num_rows == sum(counts)
    except pa.ArrowInvalid:
        whole = False
    if not whole:
        tables = []
        for i, (path, body) in enumerate(zip(paths, bodies, strict=True)):
            try:
                part = _parsed(body)
                if part.num_rows != counts[i]:
                    raise ValueError("an empty line")
                tables.append(part)
            except ValueError:
                broken[path], counts[i] = "has a broken line", 0
        table = pa.concat_tables([schema().empty_table(), *tables]).unify_dictionaries()
    return Points(table, counts, broken)


def _body(path: Path) -> bytes:
    """The whole lines of a file below its heading; raises ValueError with the reason for a file of another kind."""
    try:
        with path.open("rb", buffering=0) as file:
            content = file.readall()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    content = content.replace(b"\r\n", b"\n")
    heading, _, body = content.partition(b"\n")
    if not content or (not body and HEADER.encode().startswith(heading)):
        return b""  # nothing yet, or a heading that is being written
    if heading != HEADER.encode():
        raise ValueError("has another heading than metrics.csv")
    return body[: body.rfind(b"\n") + 1]


def _parsed(body: bytes) -> pa.Table:
    """CURVE_COLUMNS of lines without a heading. Raises ArrowInvalid, a ValueError, for what is none."""
    from pyarrow import csv

    if not body:
        return schema().empty_table()
    kinds = schema()
    table = csv.read_csv(
        io.BytesIO(body),
        read_options=csv.ReadOptions(column_names=list(CURVE_COLUMNS), use_threads=False),
        parse_options=csv.ParseOptions(ignore_empty_lines=True),
        convert_options=csv.ConvertOptions(column_types=kinds, strings_can_be_null=False),
    )
    return table.unify_dictionaries()
