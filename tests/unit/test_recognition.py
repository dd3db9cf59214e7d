import json
from collections.abc import Mapping

import pytest

from adapters.inbound.dialects import (
    DIALECTS,
    FirstMessageNotJson,
    UnknownDialect,
    recognise,
)
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.inbound.handshake import Handshake


class OfTheSubprotocol(Exostreamkit):
    """Recognises its senders by what they offer, whatever they say first."""

    name = "offered"

    def recognises(self, _: Mapping[str, object], handshake: Handshake) -> bool:
        return "calls.example" in handshake.subprotocols


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "first",
    [
        '{"event":"start","tenant_id":"t"}',
        '{"event":"audio","seq":1}',
        '{"event":"end"}',
        ' {"event" : "start", "interaction_id": 1 } \n',
        '\ufeff{"event":"start","tenant_id":"t"}',
        '\v\n{"event":"start","tenant_id":"t"}\n\0',
        '{"event":"connected","event":"end"}',
        '{"event":"st\\u0061rt","tenant_id":"t"}',
        json.dumps({"event": "start", "tenant_id": "t", **{f"field{i}": i for i in range(5_000)}}),
        '{"event":"start","tenant_id":"t","sample_rate":' + "9" * 5_000 + "}",
    ],
    ids=range(10),
)
def test_each_event_of_exostreamkit_tells_the_dialect(first: str) -> None:
    assert recognise(first, Handshake(), DIALECTS).name == "exostreamkit"
    assert recognise(first.encode(), Handshake(), DIALECTS).name == "exostreamkit"


@pytest.mark.parametrize(
    "first",
    [
        "", " ", "{", '{"event":"start"', '{"event":"start"} x', "start", "NaN", "{'event':1}",
        '{"event":"start",}', "\0{}", '{"event":NaN}', '{"event":' + DEEP + "}",
        '{"event":' + DEEP,
    ],
    ids=range(13),
)  # fmt: skip
def test_a_text_that_is_no_json_is_told_apart(first: str) -> None:
    with pytest.raises(FirstMessageNotJson):
        recognise(first, Handshake(), DIALECTS)


@pytest.mark.parametrize("first", ["[1,", "[x]", '"start', "nul", "1 2", "tru", "[]]", "-"])
def test_a_text_that_only_begins_like_json_is_no_json(first: str) -> None:
    with pytest.raises(FirstMessageNotJson):
        recognise(first, Handshake(), DIALECTS)


@pytest.mark.parametrize(
    "first",
    ["[]", "null", "1", '"start"', "true", "[1,2]", "{}", "\ufeff{}", "[]\0",
     '{"event":"other"}', '{"Event":"start"}',
     '{"event":null}', '{"event":1}', '{"event":true}', '{"event":"start","event":"other"}'],
)  # fmt: skip
def test_json_that_is_no_message_of_a_dialect_is_unknown(first: str) -> None:
    with pytest.raises(UnknownDialect):
        recognise(first, Handshake(), DIALECTS)


@pytest.mark.parametrize("event", ["[]", "{}", '["start"]', '{"start":1}', "1e999", "9" * 5_000])
def test_an_event_that_is_no_name_is_unknown(event: str) -> None:
    with pytest.raises(UnknownDialect):
        recognise('{"event":' + event + "}", Handshake(), DIALECTS)


@pytest.mark.parametrize(
    "first", [b"", b"\x00\x01" * 160, b"\xff\xfe", b"{", b'{"event":"\xff"}', b"[]", b"{}"]
)
def test_a_first_message_that_is_binary_is_unknown(first: bytes) -> None:
    with pytest.raises(UnknownDialect):
        recognise(first, Handshake(), DIALECTS)


def test_a_dialect_may_look_at_the_handshake() -> None:
    dialects = (OfTheSubprotocol(), *DIALECTS)
    first = '{"event":"start","tenant_id":"t"}'
    offered = Handshake(subprotocols=("other", "calls.example"))
    assert recognise(first, offered, dialects).name == "offered"
    assert recognise(first, Handshake(), dialects).name == "exostreamkit"
