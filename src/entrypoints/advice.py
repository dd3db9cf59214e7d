"""Logs the destination's advice for the operator, once at the start."""

import asyncio
import logging
import random
from collections.abc import Callable

from application.backoff import Backoff
from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable, PublisherError
from entrypoints.settings import Settings
from entrypoints.sizing import ask_advice, expected_bytes

FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 5.0
"""The maximum wait before a destination that is away is asked again."""

_log = logging.getLogger(__name__)


async def log_advice(
    destination: Destination, settings: Settings, draw: Callable[[], float] = random.random
) -> None:
    """Log the destination's advice as soon as it answers.

    `draw` returns a number from 0 to 1: processes that found it away do not ask together.
    """
    expected = expected_bytes(
        settings.calls.max_streams,
        settings.streams.retention_seconds,
        settings.streams.expire_seconds,
    )
    backoff = Backoff(FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS, draw=draw)
    while True:
        try:
            for advice in await ask_advice(destination, expected):
                _log.warning(advice)
        except (BrokerUnavailable, TimeoutError):
            await asyncio.sleep(backoff.note_failure())
        except PublisherError as error:
            _log.info("the destination gives no advice", extra={"why": str(error)})
            return
        else:
            return
