"""Log lines: JSON for machines, colours for people. No secret is ever passed to them."""

import logging
from asyncio import CancelledError

import structlog
from structlog.typing import Processor

UNFINISHED_HANDSHAKE = "ASGI callable returned without completing handshake."


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop what others take for an error and is none.

    That is a refused handshake, which we answered as HTTP ourselves, and what a second signal
    cancels.
    """
    kind, message = record.exc_info[0] if record.exc_info else None, record.getMessage()
    is_cancelled = kind is not None and issubclass(kind, CancelledError)
    last_line = message.rstrip().rpartition("\n")[2]  # Litestar's lifespan says it as a text
    is_said_to_be = last_line.startswith("asyncio.exceptions.CancelledError")
    return not (is_cancelled or is_said_to_be or message == UNFINISHED_HANDSHAKE)


def configure_logs(level: str, form: str) -> None:
    """Send every log line to standard error.

    uvicorn stays at warnings whatever the level: at info its handshake lines hold query strings,
    at debug the wire.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        renderer,
    ]
    handler = logging.StreamHandler()
    handler.addFilter(_is_ours)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "websockets", "asyncio", "redis"):
        logging.getLogger(name).setLevel(logging.WARNING)
