"""Standard output whose device can fail: it is full, or the terminal is gone."""

import io
import sys

import click

UNWRITABLE = 74
"""EX_IOERR of sysexits.h: what the command found out could not be written."""


class UnwritableOutput(click.ClickException):
    """Standard output takes no more; the message says why."""

    exit_code = UNWRITABLE


def tell_of_unwritable_output() -> None:
    """Have whatever a command writes to standard output fail with `UnwritableOutput`.

    No command takes that for an error of its own files. A closed pipe remains one, which is no
    error: its reader has read enough. A standard output that is closed, or replaced, is left alone.
    A character that its encoding does not have is written as an escape.
    """
    replaced = sys.stdout
    if not isinstance(replaced, io.TextIOWrapper) or replaced is not sys.__stdout__:
        return
    raw = _Output(replaced.fileno(), "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=replaced.encoding,
        errors="backslashreplace" if replaced.errors == "strict" else replaced.errors,
        line_buffering=replaced.line_buffering,
        write_through=replaced.write_through,
    )


class _Output(io.FileIO):
    """Fails once. What is buffered then goes nowhere, so that the process can end."""

    _has_failed = False

    # What Python 3.12 calls a Buffer has no name before; `BufferedWriter` writes these.
    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
        if self._has_failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._has_failed = True
            if isinstance(error, BrokenPipeError):
                raise
            raise UnwritableOutput(f"standard output: {error.strerror}") from error
