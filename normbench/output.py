"""What any terminal can take, and what becomes of output that nobody takes any more. A leaf.

A character that the encoding lacks is replaced, never an error. Where a reader has gone (`normbench plan STUDY | head`)
the rest goes nowhere: the command goes on to its end, and its status says how that was.
"""

from __future__ import annotations

import errno
import io
import os
import sys

PLAIN = str.maketrans({"−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "†": "+", "…": "...", "·": ".", "≥": ">="})
GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe, and a terminal


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


class _Lasting(io.TextIOWrapper):
    """A stream that goes on where its reader has gone. Standard output on a full disk is an error, messages are not."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._go_on(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._go_on(error)

    def _go_on(self, error: OSError) -> None:
        from normbench.errors import NormbenchError

        discard(self.fileno())
        if self is sys.stdout and error.errno not in GONE:
            raise NormbenchError(f"standard output cannot be written: {error.strerror}") from None


def outlive_readers() -> None:
    """Makes standard output and standard error of this process outlive who reads them. Closed ones go nowhere.

    To be called once, at the start of a process.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file to be opened would be taken for it
            discard(number)
            lasting = _Lasting(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8")
        elif type(stream) is io.TextIOWrapper:
            lasting = _Lasting(
                stream.buffer,
                stream.encoding,
                stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
        else:
            continue
        setattr(sys, name, lasting)


def discard(output: int) -> None:
    """Sends what is still written to file descriptor `output` nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != output:
        os.dup2(nowhere, output)
        os.close(nowhere)
