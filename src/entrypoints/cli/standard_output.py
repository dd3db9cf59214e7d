"""Handles failures of standard output: a full disk, or a closed terminal."""

import io
import sys

import click

UNWRITABLE = 74
"""EX_IOERR of sysexits.h: the output of the command could not be written."""


class UnwritableOutput(click.ClickException):
    """Standard output takes no more; the message says why."""

    exit_code = UNWRITABLE


def tell_of_unwritable_output() -> None:
    """Raise `UnwritableOutput` if a command cannot write to standard output.

    So no command mistakes it for an error of its own files. A closed pipe is not an error: its
    reader has read enough. A standard output that is closed or replaced is not changed. A character
    that its encoding lacks is written as an escape.
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
    """Fails once. Buffered output is discarded then, so that the process can end."""

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
