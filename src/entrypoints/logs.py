"""Log lines: JSON for machines, colours for people. No secret is ever passed to them."""

import logging

import structlog
from structlog.typing import Processor

UNFINISHED_HANDSHAKE = "ASGI callable returned without completing handshake."


def _is_ours(record: logging.LogRecord) -> bool:
    """Drop uvicorn's complaint about a refused handshake: we answered it as HTTP ourselves."""
    return record.getMessage() != UNFINISHED_HANDSHAKE


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
