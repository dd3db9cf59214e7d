"""Why a WebSocket is closed (RFC 6455 §7.4; 4000 and above are ours)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from application.ports.errors import PublisherError
from domain.errors import NotAllowed, Superseded, TenantNotOpen
from domain.events import EndReason

MAX_REASON_BYTES = 123
"""A close frame holds 125 bytes, two of them the code (RFC 6455 §5.5)."""


class CloseCode(IntEnum):
    """The codes that this service closes with itself."""

    ENDED = 1000
    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    BUG = 1011
    RESTART = 1012
    NOT_CONFIRMED = 1013
    BAD_START = 4400
    NOT_ALLOWED = 4403
    TIMED_OUT = 4408
    SUPERSEDED = 4409


class CloseReason(StrEnum):
    """The cause of a close: the label of the metric and the reason in the log."""

    ENDED = "ended"
    NOT_STARTED = "not_started"
    """The sender sent its end before a start."""
    PROTOCOL_ERROR = "protocol_error"
    NOT_JSON = "not_json"
    """The first message is not JSON."""
    NOT_UTF8 = "not_utf8"
    TOO_MANY_REFUSED = "too_many_refused"
    TOO_MANY_FRAGMENTS = "too_many_fragments"
    REPLIES_UNREAD = "replies_unread"
    PONGS_UNREAD = "pongs_unread"
    """The peer pings and does not read the pongs. It gets a reset without a close frame."""
    TOO_BIG = "too_big"
    BUG = "bug"
    RESTART = "restart"
    SHUTDOWN = "shutdown"
    """The service stops, and the sender cannot resume."""
    NOT_CONFIRMED = "not_confirmed"
    START_NOT_CONFIRMED = "start_not_confirmed"
    BAD_START = "bad_start"
    UNKNOWN_DIALECT = "unknown_dialect"
    AUDIO_BEFORE_START = "audio_before_start"
    NOT_ALLOWED = "not_allowed"
    NO_START = "no_start"
    IDLE = "idle"
    TOO_LONG = "too_long"
    SUPERSEDED = "superseded"


CLOSES: Mapping[CloseReason, tuple[CloseCode, ...]] = {
    CloseReason.ENDED: (CloseCode.ENDED,),
    CloseReason.NOT_STARTED: (CloseCode.ENDED,),
    CloseReason.PROTOCOL_ERROR: (CloseCode.PROTOCOL_ERROR,),
    CloseReason.NOT_JSON: (CloseCode.INVALID_DATA,),
    CloseReason.NOT_UTF8: (CloseCode.INVALID_DATA,),
    CloseReason.TOO_MANY_REFUSED: (CloseCode.POLICY,),
    CloseReason.TOO_MANY_FRAGMENTS: (CloseCode.POLICY,),
    CloseReason.REPLIES_UNREAD: (CloseCode.POLICY,),
    CloseReason.PONGS_UNREAD: (CloseCode.POLICY,),
    CloseReason.TOO_BIG: (CloseCode.TOO_BIG,),
    CloseReason.BUG: (CloseCode.BUG,),
    CloseReason.RESTART: (CloseCode.RESTART,),
    CloseReason.SHUTDOWN: (CloseCode.RESTART,),
    CloseReason.NOT_CONFIRMED: (CloseCode.NOT_CONFIRMED,),
    CloseReason.START_NOT_CONFIRMED: (CloseCode.NOT_CONFIRMED, CloseCode.TIMED_OUT),
    CloseReason.BAD_START: (CloseCode.BAD_START,),
    CloseReason.UNKNOWN_DIALECT: (CloseCode.BAD_START,),
    CloseReason.AUDIO_BEFORE_START: (CloseCode.BAD_START,),
    CloseReason.NOT_ALLOWED: (CloseCode.NOT_ALLOWED,),
    CloseReason.NO_START: (CloseCode.TIMED_OUT,),
    CloseReason.IDLE: (CloseCode.TIMED_OUT,),
    CloseReason.TOO_LONG: (CloseCode.TIMED_OUT,),
    CloseReason.SUPERSEDED: (CloseCode.SUPERSEDED,),
}
"""The close codes of each cause. Where the cause is decided:

    frames and text    `FrameReader`, through `WebSocketGuard.handle_parser_exception`
    unread             `WebSocketGuard` for pongs, `Connection` for replies
    what is refused    `StreamMessages.refuse`, `Session` for starts
    time               `Deadlines`; `StreamMessages.on_stalled` where nothing is confirmed
    starts             `closing_of`, called by `CallStream`
    drains             `SessionClose.on_drain`

All are counted and logged by `Reports.closed`.
"""


class Leaving(StrEnum):
    """When a peer left after its handshake was accepted: the label of the metric."""

    BEFORE_ANSWER = "before_answer"
    """Before the answer to its handshake could be sent."""
    BEFORE_START = "before_start"


REFUSED_WITH = (CloseReason.BAD_START, CloseReason.NOT_ALLOWED, CloseReason.NO_START)
"""The causes for which frames of a sender without a granted start count as rejected."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A close frame to be sent, and why.

    `explanation` is for people, in the frame and in the log: it names a field but no value. `end`
    is the reason with which the run is ended first, None to leave it open. `names` are the readable
    identifiers of an unusable start; `error` is a bug of ours.
    """

    code: CloseCode
    reason: CloseReason
    explanation: str = ""
    end: EndReason | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def short_explanation(self) -> str:
        """The explanation, truncated to the size of a close frame."""
        return self.explanation.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


ENDED = Closing(CloseCode.ENDED, CloseReason.ENDED)
RESTART = Closing(CloseCode.RESTART, CloseReason.RESTART, "restart: reconnect and resume")
SHUTDOWN = Closing(CloseCode.RESTART, CloseReason.SHUTDOWN, "restart", EndReason.SHUTDOWN)
SUPERSEDED = Closing(
    CloseCode.SUPERSEDED, CloseReason.SUPERSEDED, "a newer connection holds the stream"
)
NOT_CONFIRMED = Closing(
    CloseCode.NOT_CONFIRMED, CloseReason.NOT_CONFIRMED, "nothing can be confirmed"
)
REPLIES_UNREAD = Closing(CloseCode.POLICY, CloseReason.REPLIES_UNREAD, "replies are not read")
NO_START = Closing(
    CloseCode.TIMED_OUT, CloseReason.NO_START, "no start within START_TIMEOUT_SECONDS"
)
IDLE = Closing(
    CloseCode.TIMED_OUT, CloseReason.IDLE, "silent for IDLE_TIMEOUT_SECONDS", EndReason.IDLE
)
TOO_LONG = Closing(
    CloseCode.TIMED_OUT, CloseReason.TOO_LONG, "longer than MAX_CALL_SECONDS", EndReason.TOO_LONG
)
BUG = Closing(CloseCode.BUG, CloseReason.BUG)


def bad_start(
    explanation: str,
    names: Mapping[str, str] | None = None,
    reason: CloseReason = CloseReason.BAD_START,
) -> Closing:
    """Return the closing for a start that cannot be used."""
    return Closing(CloseCode.BAD_START, reason, explanation, names=names or {})


def closing_of(error: Exception, *, keeps_on: bool) -> Closing:
    """Return the closing for a start that is not granted.

    `keeps_on`: the wire must not be closed because the broker is away. Any error that is not a
    refusal is a bug.
    """
    match error:
        case NotAllowed():
            told = ": EXOTEL_TENANTS does not name it" if isinstance(error, TenantNotOpen) else ""
            return Closing(CloseCode.NOT_ALLOWED, CloseReason.NOT_ALLOWED, f"{error}{told}")
        case Superseded():
            return Closing(CloseCode.SUPERSEDED, CloseReason.SUPERSEDED, str(error))
        case PublisherError():
            code = CloseCode.TIMED_OUT if keeps_on else CloseCode.NOT_CONFIRMED
            explanation = "the start could not be published"
            return Closing(code, CloseReason.START_NOT_CONFIRMED, explanation)
    return replace(BUG, error=error)
