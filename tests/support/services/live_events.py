"""A viewer of the live page's events: plain HTTP, read as it comes."""

import http.client
import json
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode

LIMIT_SECONDS = 30.0


class LiveEvents:
    """One connection to `/live/events`; `with` closes it."""

    def __init__(self, port: int, **query: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_SECONDS)
        asked = f"?{urlencode(query)}" if query else ""
        self._connection.request("GET", f"/live/events{asked}")
        self.answer = self._connection.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.answer.close()
        self._connection.close()

    def next(self) -> dict[str, Any] | None:
        """Return the next event, `{}` if it has another name than `message`; None at the end."""
        name = "message"
        while line := self.answer.readline():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            if field == "data":
                told: dict[str, Any] = json.loads(value) if name == "message" else {}
                return told
        return None

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first event of which something is true."""
        limit, told = time.monotonic() + LIMIT_SECONDS, None
        while time.monotonic() < limit:
            told = self.next()
            assert told is not None, "the events have ended"
            if told and condition(told):
                return told
        raise AssertionError(f"it was never told; at last: {told}")


def row(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the row of an interaction; `{}` if there is none."""
    return next((it for it in told["rows"] if it["interaction"] == name), {})
