"""Log lines: JSON for machines, colours for people. No secret is ever passed to them.

A line is formatted where it is logged, and written by a separate thread (`log_writer.py`), so that
standard error never blocks the service.
"""

import logging
import sys
from asyncio import CancelledError

import structlog
from structlog.typing import EventDict, Processor

from entrypoints.log_writer import LogWriter

UNFINISHED_HANDSHAKE = "ASGI callable returned without completing handshake."

_log = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop errors of other libraries that are none.

    These are a refused handshake, which we answer ourselves, and cancellations by a second signal.
    """
    kind, message = record.exc_info[0] if record.exc_info else None, record.getMessage()
    is_cancelled = kind is not None and issubclass(kind, CancelledError)
    last_line = message.rstrip().rpartition("\n")[2]  # Litestar's lifespan says it as a text
    is_told_to_be = last_line.startswith("asyncio.exceptions.CancelledError")
    return not (is_cancelled or is_told_to_be or message == UNFINISHED_HANDSHAKE)


def configure_logs(level: str, form: str, worker: int | None = None) -> LogWriter:
    """Send every log line to standard error, with the number of the worker if it is one.

    uvicorn stays at warnings whatever the level: at info its handshake lines hold query strings,
    at debug the wire.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )

    def add_worker(_logger: object, _method: str, event: EventDict) -> EventDict:
        if worker is not None:
            event["worker"] = worker
        return event

    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        add_worker,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        renderer,
    ]
    writer = LogWriter()
    writer.addFilter(_is_ours)
    writer.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last)
    )
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, LogWriter):
            handler.close()
    root.handlers[:] = [writer]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "websockets", "asyncio", "redis", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    return writer


def log_unraisable() -> None:
    """Log exceptions that cannot be raised, which Python would write to standard error itself."""
    sys.unraisablehook = _log_unraisable


def _log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    _log.error(
        unraisable.err_msg or "exception ignored",
        exc_info=(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback),  # type: ignore[arg-type]
    )
