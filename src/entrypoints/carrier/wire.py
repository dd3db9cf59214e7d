"""The wire format of a carrier: one small class for each dialect."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

DEFAULT_SAMPLE_RATE_HZ = 8_000
SAMPLE_WIDTH_BYTES = 2

Message = str | bytes
"""A text or a binary message of the WebSocket."""


@dataclass(frozen=True, slots=True)
class Call:
    """The facts of a call in its start."""

    tenant: str
    interaction: str
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Started:
    """The service took the call; `last_seq` is the last frame it has of a call that is resumed."""

    generation: int
    last_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Acked:
    """Every frame up to `seq` is published or was refused."""

    seq: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A message was refused; the call continues."""

    code: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over, with the service's account of it."""

    ledger: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply that does not belong to the dialect."""

    text: str


Reply = Started | Acked | Refused | Ended | Unreadable


class Wire(Protocol):
    """How one dialect writes one call and reads what is replied; made for each call."""

    speaks_only: ClassVar[bool]
    """Whether the carrier neither expects nor reads replies."""

    user_agent: ClassVar[str | None]
    """The user agent of the carrier in the handshake; None for the library's default."""

    usual_rate: ClassVar[int | None]
    """The sample rate in Hz that the carrier sends unless it is asked for another; None: any."""

    hangs_up: ClassVar[bool]
    """Whether the carrier ends a call by closing the connection, without a message."""

    handshakes: ClassVar[int]
    """How often the carrier tries a handshake."""

    sends_token: ClassVar[bool]
    """Whether the carrier can send a bearer token in the handshake."""

    resumes: ClassVar[bool]
    """Whether the carrier can continue a call over another connection."""

    def __init__(self, call: Call) -> None:
        """Take the call."""
        ...

    @property
    def stream(self) -> str:
        """The name of the stream that consumers find, beside the tenant's."""
        ...

    @property
    def query(self) -> str:
        """The query string that the carrier is configured with; empty for none."""
        ...

    def opening(self) -> list[Message]:
        """Write what comes before the first frame."""
        ...

    def resuming(self) -> list[Message]:
        """Write the first messages over another connection; frames follow `Started.last_seq`."""
        ...

    def frame(self, seq: int, audio: bytes) -> Message:
        """Write one frame; `seq` counts from 0."""
        ...

    def closing(self, frames: int) -> list[Message]:
        """Write what comes after the last of `frames`."""
        ...

    def read(self, message: Message) -> Reply:
        """Read a reply."""
        ...


class ExostreamkitWire(Wire):
    """`start`, `audio` …, `end` as JSON."""

    speaks_only = False
    usual_rate = None
    hangs_up = False
    user_agent = None
    handshakes = 1
    sends_token = True
    resumes = True
    query = ""

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def stream(self) -> str:
        """The interaction's own name."""
        return self._call.interaction

    def opening(self) -> list[Message]:
        """Write `start`."""
        return [json.dumps(self._start)]

    def resuming(self) -> list[Message]:
        """Write `start` with `resume`."""
        return [json.dumps({**self._start, "resume": True})]

    @property
    def _start(self) -> Mapping[str, str | int]:
        return {
            "event": "start",
            "interaction_id": self._call.interaction,
            "tenant_id": self._call.tenant,
            "sample_rate": self._call.sample_rate,
            "encoding": "pcm16",
        }

    def frame(self, seq: int, audio: bytes) -> Message:
        """Write `audio`, as `json.dumps` would: base64 needs no escapes."""
        data = base64.b64encode(audio).decode("ascii")
        return f'{{"event": "audio", "data": "{data}", "seq": {seq}}}'

    def closing(self, frames: int) -> list[Message]:  # noqa: ARG002  # not on this wire
        """Write `end`."""
        return ['{"event": "end"}']

    def read(self, message: Message) -> Reply:
        """Read `started`, `ack`, `error` or `ended`."""
        try:
            return _read_exostreamkit(json.loads(message))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return Unreadable(repr(message[:100]))


class ExostreamkitBinaryWire(ExostreamkitWire):
    """The same with frames as raw PCM, which the service numbers from 0."""

    def frame(self, seq: int, audio: bytes) -> Message:  # noqa: ARG002  # not on this wire
        """Write the bytes as they are."""
        return audio


class AgentstreamWire(Wire):
    """`connected`, `start`, `media` …, `stop` as Exotel's platform writes them.

    Compact JSON, counters as strings, `sequence_number` over all events from 1 on `start`, `chunk`
    over the frames from 1, `timestamp` in milliseconds since the stream began.
    """

    speaks_only = True
    usual_rate = DEFAULT_SAMPLE_RATE_HZ
    hangs_up = False
    user_agent = "Go-http-client/1.1"
    handshakes = 2
    sends_token = False
    resumes = False

    def __init__(self, call: Call) -> None:
        self._call = call
        name = call.interaction.encode(errors="surrogateescape")
        self._sid = hashlib.sha256(name).hexdigest()[:32]
        self._sent_bytes = 0

    @property
    def stream(self) -> str:
        """The carrier's own name of the stream: 32 hexadecimal digits."""
        return self._sid

    @property
    def query(self) -> str:
        """Ask for the sample rate, as the applet's URL does."""
        rate = self._call.sample_rate
        return "" if rate == DEFAULT_SAMPLE_RATE_HZ else f"sample-rate={rate}"

    def opening(self) -> list[Message]:
        """Write `connected` and `start`."""
        start = {
            "stream_sid": self._sid,
            "call_sid": self._call.interaction,
            "account_sid": self._call.tenant,
            "from": "00000000001",
            "to": "00000000002",
            "custom_parameters": {},
            "media_format": {
                "encoding": "base64",
                "sample_rate": str(self._call.sample_rate),
                "bit_rate": "128kbps",
            },
        }
        return [_compact({"event": "connected"}), self._event("start", 1, start)]

    def resuming(self) -> list[Message]:
        """Begin as usual: the platform cannot resume a call."""
        return self.opening()

    def frame(self, seq: int, audio: bytes) -> Message:
        """Write `media`."""
        self._sent_bytes += len(audio)
        timestamp = self._sent_bytes * 1_000 // (self._call.sample_rate * SAMPLE_WIDTH_BYTES)
        payload = base64.b64encode(audio).decode("ascii")
        return (
            f'{{"event":"media","sequence_number":"{seq + 2}","stream_sid":"{self._sid}",'
            f'"media":{{"chunk":"{seq + 1}","timestamp":"{timestamp}","payload":"{payload}"}}}}'
        )

    def closing(self, frames: int) -> list[Message]:
        """Write `stop`."""
        stop = {
            "call_sid": self._call.interaction,
            "account_sid": self._call.tenant,
            "reason": "callended",
        }
        return [self._event("stop", frames + 2, stop)]

    def read(self, message: Message) -> Reply:
        """Every reply is an error."""
        return Unreadable(repr(message[:100]))

    def _event(self, event: str, sequence_number: int, inner: Mapping[str, Any]) -> str:
        envelope = {
            "event": event,
            "sequence_number": str(sequence_number),
            "stream_sid": self._sid,
            event: inner,
        }
        return _compact(envelope)


WIRES: Mapping[str, type[Wire]] = {
    "exostreamkit": ExostreamkitWire,
    "agentstream": AgentstreamWire,
}
"""The dialects by name."""

BINARY_WIRES: Mapping[str, type[Wire]] = {"exostreamkit": ExostreamkitBinaryWire}
"""The dialects that know binary frames."""


def _compact(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _read_exostreamkit(reply: Any) -> Reply:  # noqa: ANN401  # any JSON
    match reply["event"]:
        case "started":
            last_seq = reply.get("last_seq")
            return Started(int(reply["generation"]), None if last_seq is None else int(last_seq))
        case "ack":
            return Acked(int(reply["seq"]))
        case "error":
            return Refused(str(reply["code"]), str(reply["message"]))
        case "ended":
            return Ended({name: int(count) for name, count in reply["ledger"].items()})
        case _:
            return Unreadable(repr(reply)[:100])
