"""Why a WebSocket is closed (RFC 6455 §7.4; 4000 and above are ours)."""

from dataclasses import dataclass
from enum import IntEnum

from domain.events import EndReason

MAX_REASON_BYTES = 123
"""A close frame holds 125 bytes, two of them the code (RFC 6455 §5.5)."""


class CloseCode(IntEnum):
    """The codes that this service closes with itself."""

    ENDED = 1000
    FIRST_MESSAGE_NOT_JSON = 1007
    POLICY = 1008
    BUG = 1011
    RESTART = 1012
    NOT_CONFIRMED = 1013
    BAD_START = 4400
    NOT_ALLOWED = 4403
    TIMED_OUT = 4408
    SUPERSEDED = 4409


@dataclass(frozen=True, slots=True)
class Closing:
    """A close frame to be sent; `end` is how the run is ended before, None to leave it open."""

    code: CloseCode
    reason: str = ""
    end: EndReason | None = None

    @property
    def short_reason(self) -> str:
        """The reason as far as a close frame holds it."""
        return self.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
