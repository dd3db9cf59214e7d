"""What a carrier writes and reads: one small class for each dialect."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Message = str | bytes
"""A text or a binary message of the WebSocket."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a carrier says of a call when it starts it."""

    tenant: str
    interaction: str
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Started:
    """The service took the call."""

    generation: int


@dataclass(frozen=True, slots=True)
class Acked:
    """Every frame up to `seq` is published or was refused."""

    seq: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A message was refused; the call goes on."""

    code: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over, with the service's account of it."""

    ledger: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply that is none of the dialect's."""

    text: str


Reply = Started | Acked | Refused | Ended | Unreadable


class Wire(Protocol):
    """How one dialect writes a call and reads what is replied."""

    def opening(self, call: Call) -> list[Message]:
        """Write what comes before the first frame."""
        ...

    def frame(self, seq: int, audio: bytes) -> Message:
        """Write one frame."""
        ...

    def closing(self) -> list[Message]:
        """Write what comes after the last frame."""
        ...

    def read(self, message: Message) -> Reply:
        """Read a reply."""
        ...


class ExostreamkitWire(Wire):
    """`start`, `audio` …, `end` as JSON."""

    def opening(self, call: Call) -> list[Message]:
        """Write `start`."""
        start = {
            "event": "start",
            "interaction_id": call.interaction,
            "tenant_id": call.tenant,
            "sample_rate": call.sample_rate,
            "encoding": "pcm16",
        }
        return [json.dumps(start)]

    def frame(self, seq: int, audio: bytes) -> Message:
        """Write `audio`, as `json.dumps` would: base64 needs no escapes."""
        data = base64.b64encode(audio).decode("ascii")
        return f'{{"event": "audio", "data": "{data}", "seq": {seq}}}'

    def closing(self) -> list[Message]:
        """Write `end`."""
        return ['{"event": "end"}']

    def read(self, message: Message) -> Reply:
        """Read `started`, `ack`, `error` or `ended`."""
        try:
            return _read_exostreamkit(json.loads(message))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Unreadable(repr(message[:100]))


class ExostreamkitBinaryWire(ExostreamkitWire):
    """The same with frames as raw PCM, which the service numbers from 0."""

    def frame(self, seq: int, audio: bytes) -> Message:  # noqa: ARG002  # not on this wire
        """Write the bytes as they are."""
        return audio


WIRES: Mapping[str, type[Wire]] = {"exostreamkit": ExostreamkitWire}
"""The dialects by name."""

BINARY_WIRES: Mapping[str, type[Wire]] = {"exostreamkit": ExostreamkitBinaryWire}
"""The dialects that know binary frames."""


def _read_exostreamkit(reply: Any) -> Reply:  # noqa: ANN401  # any JSON
    match reply["event"]:
        case "started":
            return Started(int(reply["generation"]))
        case "ack":
            return Acked(int(reply["seq"]))
        case "error":
            return Refused(str(reply["code"]), str(reply["message"]))
        case "ended":
            return Ended({name: int(count) for name, count in reply["ledger"].items()})
        case _:
            return Unreadable(repr(reply)[:100])
