"""What any terminal can take: a character that its encoding lacks is replaced, never an error."""

from __future__ import annotations

import io
import sys

PLAIN = str.maketrans({"−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "†": "+", "…": "...", "·": ".", "≥": ">="})


class _Tolerant:
    """Error handler of the streams: the nearest ASCII character, or a question mark."""

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end].translate(PLAIN)
        return text if text.isascii() else "?" * (error.end - error.start), error.end


def takes_unicode() -> bool:
    """Whether standard output takes every character as it is; else what programs read back is to be escaped."""
    return (sys.stdout.encoding or "").lower().startswith("utf")


def tolerate_encodings() -> None:
    """Makes standard output and standard error take every character."""
    import codecs

    codecs.register_error("normbench", _Tolerant())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="normbench")
