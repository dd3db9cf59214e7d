import json
from typing import Any

import pytest

from adapters.inbound.dialects.exostreamkit import Exostreamkit
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Refusal,
    Refused,
    Start,
    Unknown,
)
from domain.events import NEW_RUN, EndReason, Resume
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.ledger import Ledger
from domain.media import MediaFormat

DIALECT = Exostreamkit()
START = {
    "event": "start",
    "interaction_id": "int-123",
    "tenant_id": "tenant-abc",
    "sample_rate": 8000,
    "encoding": "pcm16",
}
DEEP = "[" * 100_000 + "]" * 100_000


def start(**changes: Any) -> str:
    """Return a start with `changes`; a change to `...` takes the field away."""
    return json.dumps({k: v for k, v in {**START, **changes}.items() if v is not ...})


def refusal(text: str) -> Refusal | None:
    message = DIALECT.decode_text(text.encode())
    return message.refusal if isinstance(message, Refused) else None


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_a_start_is_read(rate: int) -> None:
    assert DIALECT.decode_text(start(sample_rate=rate).encode()) == Start(
        tenant_id=TenantId("tenant-abc"),
        interaction_id=InteractionId("int-123"),
        stream_id=StreamId("int-123"),
        media=MediaFormat(rate),
        continuation=NEW_RUN,
    )


@pytest.mark.parametrize("resume", [True, False])
def test_a_start_may_ask_to_resume(resume: bool) -> None:
    message = DIALECT.decode_text(start(resume=resume).encode())
    assert isinstance(message, Start)
    assert message.continuation == (Resume() if resume else NEW_RUN)


def test_unknown_fields_of_a_start_are_ignored() -> None:
    many = {f"field{number}": [number, {"a": None}] for number in range(5_000)}
    assert DIALECT.decode_text(start(**many).encode()) == DIALECT.decode_text(start().encode())


def test_of_duplicate_keys_in_a_start_the_last_wins() -> None:
    text = start()[:-1] + ',"tenant_id":"last","sample_rate":16000}'
    message = DIALECT.decode_text(text.encode())
    assert isinstance(message, Start)
    assert (message.tenant_id, message.media.sample_rate) == ("last", 16_000)


@pytest.mark.parametrize("field", ["interaction_id", "tenant_id", "sample_rate", "encoding"])
@pytest.mark.parametrize("value", [..., None, True, 1.5, [], {}, "", "\0", -1, 10**30])
def test_a_start_with_a_wrong_field_is_bad(field: str, value: object) -> None:
    assert isinstance(DIALECT.decode_text(start(**{field: value}).encode()), BadStart)


@pytest.mark.parametrize(
    "changes",
    [
        {"interaction_id": "a:b"}, {"interaction_id": ".."}, {"interaction_id": "call\n"},
        {"interaction_id": "x" * 10_240}, {"interaction_id": "é"}, {"interaction_id": 5},
        {"tenant_id": "*"}, {"tenant_id": "{a}"}, {"tenant_id": "a b"}, {"tenant_id": "a/b"},
        {"sample_rate": 8000.0}, {"sample_rate": "8000"}, {"sample_rate": 44_100},
        {"encoding": "mulaw"}, {"encoding": "PCM16"}, {"encoding": "pcm16 "},
        {"resume": None}, {"resume": 1}, {"resume": "true"}, {"resume": []},
    ],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
def test_a_start_outside_the_contract_is_bad(changes: dict[str, Any]) -> None:
    assert isinstance(DIALECT.decode_text(start(**changes)[:200_000].encode()), BadStart)


@pytest.mark.parametrize("digits", ["9" * 5_000, "-" + "9" * 5_000, "1e999", "1" + "0" * 400])
def test_a_start_with_a_rate_of_thousands_of_digits_is_bad(digits: str) -> None:
    text = start().replace("8000", digits)
    assert isinstance(DIALECT.decode_text(text.encode()), BadStart)


def test_an_audio_message_is_read() -> None:
    message = DIALECT.decode_text(b'{"event":"audio","data":"AAEC/w==","seq":7}')
    assert message == Audio(7, b"\x00\x01\x02\xff")


@pytest.mark.parametrize("seq", ["1.0", '"42"', "true", "null", "-1", str(2**53), "9" * 5_000,
                                 "1e3", "[]", "{}", "0.5", '""'])  # fmt: skip
def test_a_seq_that_is_no_seq_is_refused_as_such(seq: str) -> None:
    assert refusal(f'{{"event":"audio","data":"AAA=","seq":{seq}}}') is Refusal.INVALID_SEQ


def test_a_missing_seq_is_an_invalid_seq() -> None:
    assert refusal('{"event":"audio","data":"AAA="}') is Refusal.INVALID_SEQ


@pytest.mark.parametrize("seq", [0, 1, 10**12, 2**53 - 1])
def test_every_seq_up_to_the_largest_is_read(seq: int) -> None:
    text = f'{{"event":"audio","data":"AAA=","seq":{seq}}}'
    assert DIALECT.decode_text(text.encode()) == Audio(seq, b"\0\0")


@pytest.mark.parametrize(
    "data",
    ["null", "1", "true", "[0,0]", "{}", '"-_-_"', '"AAA"', '"AA"', '"A"', '"A A="', '" AAA="',
     '"AAA=\\n"', '"AA\\nA="', '"AAA=="', '"=AAA"', '"="', '"AAA=AAA="', '"AAA\\u0000"', '"é==="',
     '"AAA*"'],
)  # fmt: skip
def test_data_that_is_no_standard_base64_is_invalid_audio(data: str) -> None:
    message = DIALECT.decode_text(f'{{"event":"audio","data":{data},"seq":42}}'.encode())
    assert isinstance(message, Refused)
    assert message.refusal is Refusal.INVALID_AUDIO
    assert message.seq == 42


def test_missing_data_is_invalid_audio() -> None:
    assert refusal('{"event":"audio","seq":1}') is Refusal.INVALID_AUDIO


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", '{"event":"audio"', '{"event":"end"}}', '{"event":"end"} x', "{'event':1}",
        '{"event":"end",}', '{"event":"audio","data":"AAA=","seq":NaN}',
        '{"event":"audio","data":"AAA=","seq":1,"x":Infinity}', '{"event":"end","x":"\\ud800"}',
        '{"event":"audio","data":"AAA=","seq":01}', '{"event":"end","x":' + DEEP + "}",
        '{"x":' + DEEP + "}",
        '{"event":"audio","data":"AAA=","seq":1,"x":' + DEEP[:100_000], "{}\ufeff",
    ],
    ids=range(16),
)  # fmt: skip
def test_a_text_that_is_no_json_is_malformed(text: str) -> None:
    assert refusal(text) is Refusal.MALFORMED_JSON


@pytest.mark.parametrize("text", ["[]", "null", "1", '"end"', "{}", '{"event":1}',
                                  '{"event":null}', '{"event":[]}', '{"Event":"end"}'])  # fmt: skip
def test_json_that_is_no_message_is_invalid(text: str) -> None:
    assert refusal(text) is Refusal.INVALID_MESSAGE


def test_an_end_is_read() -> None:
    assert DIALECT.decode_text(b'{"event":"end"}') == End(EndReason.ENDED)
    assert DIALECT.decode_text(b'{"event":"end","seq":-1,"data":1}') == End(EndReason.ENDED)


@pytest.mark.parametrize("event", ["ping", "", "END", "media", "stop", "connected", "x" * 10_000])
def test_another_event_is_unknown(event: str) -> None:
    assert DIALECT.decode_text(json.dumps({"event": event, "seq": "x"}).encode()) == Unknown()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x01" * 160, b"\xff", b"{", b"{}", b'{"a":1}', b'{"event":1}',
     b'{"event":"end"', b'{"event":"end"}x', b'{"event":"end","x":"\xff"}', b'["event"]'],
)  # fmt: skip
def test_a_binary_message_is_audio_without_a_number(data: bytes) -> None:
    assert DIALECT.decode_binary(data) == Audio(None, data)


@pytest.mark.parametrize(
    "text",
    ['{"event":"end"}', start(), '{"event":"audio","data":"AAA=","seq":1}', '{"event":"ping"}',
     '{"event":"audio","data":"AAA=","seq":1.0}', '{"event":"start"}',
     '{"event":"end","x":' + DEEP + "}"],
    ids=range(7),
)  # fmt: skip
def test_a_message_that_comes_as_binary_is_that_message(text: str) -> None:
    message = DIALECT.decode_text(text.encode())
    assert not (isinstance(message, Audio) and message.seq is None)
    for before, behind in (("", ""), ("\ufeff", ""), (" ", "\n"), ("\ufeff\n", "\0")):
        assert DIALECT.decode_binary(f"{before}{text}{behind}".encode()) == message


def test_the_replies_are_those_of_the_contract() -> None:
    call = InteractionId("int-123")
    ledger = Ledger(2, 1, 0, 1, 0, 0, 320, 20)
    refused = Refused(Refusal.INVALID_AUDIO, 'say "please"', 3)
    replies = [
        DIALECT.started(call, 1, None),
        DIALECT.started(call, 2, 2**53 - 1),
        DIALECT.ack(7),
        DIALECT.error(refused),
        DIALECT.ended(call, ledger),
    ]
    assert [json.loads(reply or "null") for reply in replies] == [
        {"event": "started", "interaction_id": "int-123", "generation": 1, "last_seq": None},
        {
            "event": "started",
            "interaction_id": "int-123",
            "generation": 2,
            "last_seq": 9_007_199_254_740_991,
        },
        {"event": "ack", "seq": 7},
        {"event": "error", "code": "invalid_audio", "message": 'say "please"', "seq": 3},
        {
            "event": "ended",
            "interaction_id": "int-123",
            "ledger": {
                "received": 2, "published": 1, "duplicate": 0, "rejected": 1,
                "lost": 0, "missing": 0, "bytes": 320, "audio_ms": 20,
            },
        },
    ]  # fmt: skip


def test_more_than_50_refusals_in_a_row_are_too_many() -> None:
    assert DIALECT.max_refused_in_a_row == 50
