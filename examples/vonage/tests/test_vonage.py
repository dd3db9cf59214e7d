"""The contract of a dialect, held against calls as Vonage's guide describes them."""

import json
from collections.abc import Sequence

import pytest

from adapters.inbound.dialects import Dialect
from adapters.inbound.testing import Carrier, DialectContract
from adapters.inbound.testing.decoding import decode_on
from application.call.messages import BadStart, Known, Refused, SignalMessage, Start
from domain.events import Signal
from vonage import Vonage

CONNECTED = {
    "event": "websocket:connected",
    "content-type": "audio/l16;rate=16000",
    "tenant_id": "acme",
    "call_id": "call-1",
    "caller": "447700900000",
}


class VonageCarrier(Carrier):
    sample_rate = 16_000
    hangs_up = True

    def opening(self) -> Sequence[str | bytes]:
        return [json.dumps(CONNECTED)]

    def frame(self, seq: int, audio: bytes) -> str | bytes:
        return audio

    def closing(self, frames: int) -> Sequence[str | bytes]:
        return [
            '{"event":"websocket:dtmf","digit":"5","duration":260}',
            '{"event":"websocket:notify","payload":{"greeting":"over"}}',
            '{"event":"websocket:cleared"}',
        ]


class TestVonage(DialectContract):
    @pytest.fixture
    def dialect(self) -> Dialect:
        return Vonage()

    @pytest.fixture
    def carrier(self) -> Carrier:
        return VonageCarrier()


def test_a_call_has_its_names_its_caller_and_its_keys() -> None:
    carrier = VonageCarrier()
    start, key, *others = decode_on(Vonage(), [*carrier.opening(), *carrier.closing(0)])
    assert isinstance(start, Start)
    assert (start.tenant_id, start.stream_id, start.call.caller) == (
        "acme",
        "call-1",
        "447700900000",
    )
    assert key == SignalMessage(Signal.DTMF, '{"digit":"5","duration":260}')
    assert others == [Known(), Known()]


@pytest.mark.parametrize(
    ("fields", "explanation"),
    [
        ({"content-type": "audio/opus"}, "content-type must be audio/l16;rate=RATE"),
        ({"content-type": "audio/l16;rate=11025"}, "sample_rate"),
        ({"tenant_id": None}, "content-type, tenant_id or call_id is absent or no text"),
        ({"call_id": "a/b"}, "interaction_id must be"),
    ],
)
def test_a_start_that_cannot_be_used_says_why(fields: dict[str, object], explanation: str) -> None:
    (found,) = decode_on(Vonage(), [json.dumps(CONNECTED | fields)])
    assert isinstance(found, BadStart)
    assert explanation in found.explanation


def test_a_key_without_a_digit_is_refused() -> None:
    (found,) = decode_on(Vonage(), ['{"event":"websocket:dtmf"}'])
    assert isinstance(found, Refused)
