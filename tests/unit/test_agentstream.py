"""The decoder on every fixture: what the carrier sends, told apart from what it means."""

import base64
import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from agentstream_messages import DIALECT, FORMAT, LONG, decode, decoder, media, refusal, start
from carrier_calls import (
    BAD_STARTS,
    CALLS,
    FIXTURES,
    TENANT,
    call_of,
    lines,
    names_without_a_file,
    payloads,
    sid,
    stream_of,
)

from adapters.inbound.dialects import DIALECTS, recognise
from adapters.inbound.dialects.agentstream import MAX_SIGNAL_BRACKETS, MAX_SIGNAL_BYTES
from adapters.inbound.handshake import Handshake
from application.call.closing import CloseCode
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Known,
    Oddity,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
)
from domain.events import CallDetails, EndReason, ResumeAbove, Signal
from domain.identifiers import InteractionId
from domain.ledger import Ledger
from domain.media import Encoding, MediaFormat
from domain.sequence import MAX_SEQ

DEEP = "[" * 100_000 + "]" * 100_000


def test_every_row_of_the_table_has_its_file() -> None:
    assert names_without_a_file() == set()
    assert len(CALLS) > 90
    assert len(BAD_STARTS) == 7
    assert {path.suffix for path in FIXTURES.iterdir()} == {".jsonl"}


@pytest.mark.parametrize("name", [*CALLS, *BAD_STARTS])
def test_the_first_message_of_a_call_tells_the_dialect(name: str) -> None:
    first = lines(name)[0]
    for form in (first, first.decode()):
        assert recognise(form, Handshake(), DIALECTS).name == "agentstream"


@pytest.mark.parametrize(
    "key",
    ["start", "stream_sid", "streamSid", "call_sid", "callSid", "account_sid", "accountSid"],
)
def test_a_start_that_comes_first_is_recognised_by_each_of_the_carriers_keys(key: str) -> None:
    assert (
        recognise(json.dumps({"event": "start", key: "x"}), Handshake(), DIALECTS).name
        == "agentstream"
    )


@pytest.mark.parametrize("name", CALLS)
def test_a_start_is_read(name: str) -> None:
    expected = CALLS[name]
    remarks: list[str] = []
    reader = DIALECT.decoder(Handshake(query=dict(parse_qsl(expected.query))), remarks.append)
    decoded = [reader.decode_text(line) for line in lines(name)]
    found = next(message for message in decoded if isinstance(message, Start))
    assert found == Start(
        tenant_id=TENANT,  # type: ignore[arg-type]  # equal as texts, and not validated by us
        interaction_id=call_of(name),  # type: ignore[arg-type]
        stream_id=stream_of(name),  # type: ignore[arg-type]
        media=MediaFormat(expected.sample_rate, Encoding(expected.encoding)),
        continuation=ResumeAbove(),
        call=CallDetails(
            call_of(name), expected.caller, expected.callee, dict(expected.custom_parameters)
        ),
    )
    assert len(set(remarks)) + len(found.odd) == expected.remarks


@pytest.mark.parametrize("name", CALLS)
def test_audio_signals_and_the_end_are_read_in_both_forms(name: str) -> None:
    expected = CALLS[name]
    in_text, in_binary = decoder(), decoder()
    decoded = [in_text.decode_text(line) for line in lines(name)]
    assert [in_binary.decode_binary(line) for line in lines(name)] == decoded
    audio = payloads(name)
    for message in decoded:
        if isinstance(message, Audio) and message.seq is not None:
            assert message.audio == audio[message.seq]
    signals = [message for message in decoded if isinstance(message, SignalMessage)]
    assert [json.loads(signal.details) for signal in signals] == list(expected.signals)
    assert [s.signal for s in signals] == [
        kind for kind in expected.kinds.split() if kind in ("dtmf", "mark")
    ]
    ends = [message.reason for message in decoded if isinstance(message, End)]
    assert ends == ([] if expected.reason == "disconnected" else [expected.reason])
    assert sum(isinstance(message, Unknown) for message in decoded) == expected.ignored


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_start_that_cannot_be_used_is_bad(name: str) -> None:
    last = decoder().decode_text(lines(name)[-1])
    assert isinstance(last, BadStart)
    assert last.explanation
    assert "acme" not in last.explanation


@pytest.mark.parametrize(
    ("chunk", "seq"),
    [(1, 1), ("1", 1), (0, 0), ("0", 0), ("007", 7), (MAX_SEQ, MAX_SEQ), (str(MAX_SEQ), MAX_SEQ),
     (1.0, 1), ("1.0", 1), ("1e0", 1), (1e3, 1_000), ("1E3", 1_000), (" 1", 1), ("1 ", 1),
     ("1\n", 1), ("+1", 1), ("0" * 20 + "1", 1), (0.0, 0), ("-0", 0), (float(MAX_SEQ), MAX_SEQ)],
    ids=range(20),
)  # fmt: skip
def test_a_chunk_is_a_number_or_a_text_of_one(chunk: Any, seq: int) -> None:
    remarks: list[str] = []
    assert decode(media(chunk), remarks) == Audio(seq, b"\0\0")
    assert decode(media(chunk, LONG), remarks) == Audio(seq, bytes(1_500))
    assert remarks == []


@pytest.mark.parametrize(
    "chunk",
    [..., None, "", " ", "-1", "0x1", "1_0", "one", "1 2", "٣", "1,0", "nan", "inf", "9" * 5_000,
     "1e999", -1, 1.5, "1.5", -0.5, 1e300, True, False, [], {}, [1], MAX_SEQ + 1, str(MAX_SEQ + 1),
     10**30],
    ids=range(28),
)  # fmt: skip
def test_a_chunk_that_no_counter_has_is_absent_and_remarked(chunk: Any) -> None:
    """The audio is not refused for what stands beside it: it takes the next number."""
    for payload, audio in (("AAA=", b"\0\0"), (LONG, bytes(1_500))):
        message, remarks = media(chunk, payload), list[str]()
        if chunk is ...:
            del message["media"]["chunk"]
        assert decode(message, remarks) == Audio(None, audio)
        assert len(remarks) == 1
        assert "chunk" in remarks[0]
        assert not isinstance(chunk, str) or len(chunk) < 4 or chunk not in remarks[0]


def test_a_text_that_is_no_text_in_a_chunk_is_absent() -> None:
    assert decode('{"event":"media","media":{"payload":"AAA=","chunk":1e999}}') == Audio(
        None, b"\0\0"
    )


@pytest.mark.parametrize("channels", [2, "2", "stereo", 0, 1.5, -1, True, [], [1], "1,2"])
def test_other_channels_than_one_are_a_bad_start(channels: Any) -> None:
    for media_format in (
        {**FORMAT, "channels": channels},
        {**FORMAT, "encoding": f"audio/x-l16;rate=8000;channels={channels}"},
    ):
        bad = decode(start(media_format=media_format))
        assert isinstance(bad, BadStart)
        assert "channels" in bad.explanation


@pytest.mark.parametrize("channels", [1, "1", 1.0, "1.0", " 1", None, ""])
def test_one_channel_or_none_named_is_mono(channels: Any) -> None:
    for media_format in (
        {**FORMAT, "channels": channels},
        {**FORMAT, "encoding": f"audio/x-l16;rate=8000;channels={channels or ''}"},
    ):
        message = decode(start(media_format=media_format))
        assert isinstance(message, Start)
        assert message.media == MediaFormat(8_000)


@pytest.mark.parametrize(
    "payload",
    [..., None, 7, True, [], {}, "A", "AAA", "AA==AA==", "AA AA", "AAA=\n", "_-_-", "AAA*", "é===",
     "data:audio/raw;base64,AAA="],
    ids=range(15),
)  # fmt: skip
def test_a_payload_that_is_no_standard_base64_is_invalid_audio(payload: Any) -> None:
    message = media(1, payload)
    if payload is ...:
        del message["media"]["payload"]
    assert refusal(message) is Refusal.INVALID_AUDIO


@pytest.mark.parametrize("inner", [None, [], "x", 7, {}])
def test_a_media_without_its_object_is_invalid_audio(inner: Any) -> None:
    assert refusal({"event": "media", "media": inner}) is Refusal.INVALID_AUDIO
    assert refusal({"event": "media"}) is Refusal.INVALID_AUDIO


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", '{"event":"media"', '{"event":"stop"}}', '{"event":"stop"} x', "{'event':1}",
     '{"event":"stop",}', '{"event":"media","media":{"payload":"AAA=","chunk":NaN}}',
     '{"event":"media","media":{"payload":"AAA=","chunk":01}}',
     '{"event":"stop","x":"\\ud800"}', '{"event":"stop","x":' + DEEP + "}", "{}\ufeff",
     '\0{"event":"stop"}', '{"event":"stop"}\xa0', '{"event":"stop"}\0x'],
    ids=range(16),
)  # fmt: skip
def test_a_text_that_is_no_json_is_malformed(text: str) -> None:
    assert refusal(text) is Refusal.MALFORMED_JSON


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"{", b"\x00\x01" * 160, b'{"\xff":1}', b"\xfe\xff\0{"]
)
def test_a_binary_message_that_is_no_json_is_malformed_and_never_audio(data: bytes) -> None:
    message = decoder().decode_binary(data)
    assert isinstance(message, Refused)
    assert message.refusal is Refusal.MALFORMED_JSON


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "1", '"stop"', "{}", '{"event":1}', '{"event":null}', '{"Event":"stop"}'],
)
def test_json_that_is_no_message_is_invalid(text: str) -> None:
    assert refusal(text) is Refusal.INVALID_MESSAGE


@pytest.mark.parametrize("event", ["silence", "", "MEDIA", "audio", "end", "x" * 10_000])
def test_another_event_is_unknown(event: str) -> None:
    assert decode({"event": event, "media": {"chunk": 1, "payload": "AAA="}}) == Unknown()


@pytest.mark.parametrize("event", ["connected", "clear"])
def test_an_event_of_the_carriers_that_calls_for_nothing_is_known(event: str) -> None:
    assert decode({"event": event, "anything": [1]}) == Known()


def test_of_duplicate_keys_the_last_wins() -> None:
    one, two = (base64.b64encode(bytes([n, n])).decode() for n in (1, 2))
    assert decode(
        f'{{"event":"media","media":{{"chunk":1,"payload":"{one}"}},'
        f'"media":{{"chunk":"x","payload":"-","chunk":2,"payload":"{two}"}}}}'
    ) == Audio(2, b"\2\2")
    assert decode('{"event":"media","event":"stop","media":{"chunk":1,"payload":"AAA="}}') == End(
        EndReason.STOPPED
    )


@pytest.mark.parametrize(
    ("label", "encoding"),
    [("audio/x-raw", "pcm16"), ("raw", "pcm16"), ("base64", "pcm16"), ("audio/x-l16", "pcm16"),
     ("audio/L16;rate=8000;channels=1", "pcm16"), ("audio/pcm", "pcm16"), ("pcm", "pcm16"),
     ("raw/slin", "pcm16"), ("slin16", "pcm16"), ("linear16", "pcm16"), ("pcm_s16le", "pcm16"),
     ("Audio/X-Raw", "pcm16"), (" raw ", "pcm16"), ("", "pcm16"), (None, "pcm16"),
     ("audio/x-mulaw", "mulaw"), ("audio/x-mulaw;rate=8000", "mulaw"), ("mulaw", "mulaw"),
     ("PCMU", "mulaw"), ("audio/PCMU", "mulaw"), ("ulaw", "mulaw"), ("g711_ulaw", "mulaw")],
)  # fmt: skip
def test_a_label_names_linear_pcm_or_mulaw(label: str | None, encoding: str) -> None:
    message = decode(start(media_format={**FORMAT, "encoding": label}))
    assert isinstance(message, Start)
    assert message.media == MediaFormat(8_000, Encoding(encoding))


@pytest.mark.parametrize("label", ["PCMA", "audio/x-alaw", "opus", "audio/basic", "mp3", "g729"])
def test_a_label_of_another_codec_is_a_bad_start(label: str) -> None:
    assert isinstance(decode(start(media_format={**FORMAT, "encoding": label})), BadStart)


@pytest.mark.parametrize(
    ("written", "rate"),
    [("8000", 8_000), (8_000, 8_000), (8_000.0, 8_000), ("8000Hz", 8_000), ("8000 hz", 8_000),
     ("8kHz", 8_000), ("16kHz", 16_000), ("16 KHZ", 16_000), ("16k", 16_000), ("24000", 24_000),
     (48_000, 48_000), ("48.0kHz", 48_000)],
)  # fmt: skip
def test_a_sample_rate_is_read_in_all_its_spellings(written: Any, rate: int) -> None:
    message = decode(start(media_format={"sample_rate": written}))
    assert isinstance(message, Start)
    assert message.media.sample_rate == rate
    assert message.odd == ()


@pytest.mark.parametrize(
    "written",
    [None, "", "x", 0, -8_000, 44_100, "44.1kHz", True, [], {}, 1e300, 10**30, "9" * 5_000, "8000x",
     "8000\n8000", "1e4"],
    ids=range(16),
)  # fmt: skip
def test_without_a_known_sample_rate_it_is_that_of_the_query_or_8000(written: Any) -> None:
    text = json.dumps(start(media_format={"sample_rate": written}))
    for query, rate in (
        ({"sample-rate": "16000"}, 16_000),
        ({"sample_rate": "24000"}, 24_000),
        ({"sample-rate": "16000", "sample_rate": "24000"}, 16_000),
        ({"sample-rate": "16kHz"}, 16_000),
        ({"sample-rate": "loud"}, 8_000),
        ({}, 8_000),
    ):
        message = DIALECT.decoder(Handshake(query=query), lambda _: None).decode_text(text.encode())
        assert isinstance(message, Start)
        assert message.media.sample_rate == rate
        (odd,) = message.odd
        is_assumed = rate not in (16_000, 24_000)
        assert odd.oddity is (Oddity.RATE_ASSUMED if is_assumed else Oddity.RATE_FROM_ELSEWHERE)
        numbers = {0: 0, 44_100: 44_100, "44.1kHz": 44_100}
        known = numbers.get(written) if isinstance(written, int | str) else None
        assert odd.numbers["start_sample_rate"] == (None if written is True else known)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("16000", 16_000), ("44100", 44_100), ("loud", None), ("919999900001", None), ("", None)],
)
def test_a_query_that_asks_for_another_rate_or_for_none_that_is_usable_is_odd(
    asked: str, shown: int | None
) -> None:
    reader = DIALECT.decoder(Handshake(query={"sample-rate": asked}), lambda _: None)
    message = reader.decode_text(json.dumps(start(media_format={"sample_rate": "8000"})).encode())
    assert isinstance(message, Start)
    assert message.media.sample_rate == 8_000
    if not asked:
        assert message.odd == ()
        return
    (odd,) = message.odd
    assert odd.oddity is Oddity.RATE_CONTRADICTED
    assert odd.numbers == {
        "sample_rate": 8_000,
        "start_sample_rate": 8_000,
        "query_sample_rate": shown,
    }


@pytest.mark.parametrize("field", ["call_sid", "account_sid"])
@pytest.mark.parametrize(
    "value", [..., None, True, 1.5, [], {}, "", "\0", "a b", "a:b", "..", "a\n", "ä", "x" * 129]
)
def test_a_start_without_its_names_is_bad(field: str, value: Any) -> None:
    assert isinstance(decode(start(**{field: value})), BadStart)


def test_a_stream_sid_outside_its_alphabet_is_a_bad_start() -> None:
    assert isinstance(decode(start(stream_sid="a/b")), BadStart)


def test_names_that_are_numbers_are_taken_as_their_digits() -> None:
    message = decode(start(call_sid=71, account_sid=72, stream_sid=73, **{"from": 919812345670}))
    assert isinstance(message, Start)
    assert (message.interaction_id, message.tenant_id, message.stream_id) == ("71", "72", "73")
    assert message.call.caller == "919812345670"


def test_a_custom_parameter_that_is_no_text_is_kept_as_its_json() -> None:
    message = decode(start(custom_parameters={"a": 1, "b": None, "c": {"d": []}}))
    assert isinstance(message, Start)
    assert message.call.custom_parameters == {"a": "1", "b": "null", "c": '{"d": []}'}


@pytest.mark.parametrize("value", [None, [], 7, "", "queue=claims", True])
def test_custom_parameters_that_are_no_object_are_none(value: Any) -> None:
    message = decode(start(custom_parameters=value))
    assert isinstance(message, Start)
    assert message.call.custom_parameters == {}


@pytest.mark.parametrize(
    "inner",
    ['{"digit":"5"}', '{ "digit" : "5" }', "{}", '{"name":"\\u00e4","x":[1,{"y":null}]}'],
)
def test_the_inner_object_of_a_signal_is_kept_as_it_came(inner: str) -> None:
    for signal in Signal:
        text = f'{{"event":"{signal}", "{signal}" : {inner} }}'
        assert decode(text) == SignalMessage(signal, inner)


def test_a_flat_signal_is_what_stands_beside_the_envelope() -> None:
    envelope = {"stream_sid": "s", "sequence_number": 3}
    message = decode({"event": "dtmf", **envelope, "digit": "5", "duration": 90})
    assert isinstance(message, SignalMessage)
    assert json.loads(message.details) == {"digit": "5", "duration": 90}
    camel = decode({"event": "mark", "streamSid": "s", "sequenceNumber": "3", "name": "m"})
    assert camel == SignalMessage(Signal.MARK, '{"name":"m"}')


def test_nothing_is_ever_replied() -> None:
    call = InteractionId("c")
    assert DIALECT.started(call, 1, None) is None
    assert DIALECT.ack(7) is None
    assert DIALECT.error(Refused(Refusal.INVALID_AUDIO, "x")) is None
    assert DIALECT.ended(call, Ledger()) is None


def test_a_sender_is_not_hung_up_on_for_what_it_says_or_for_a_missing_broker() -> None:
    assert DIALECT.max_refused_in_a_row is None
    assert DIALECT.max_early_messages == 50
    assert {CloseCode.POLICY, CloseCode.NOT_CONFIRMED} <= DIALECT.never_closed_with


def test_the_sids_of_the_fixtures_are_those_of_their_names() -> None:
    assert sid("stream", "canonical").encode() in lines("canonical")[1]


@pytest.mark.parametrize(
    "label",
    ["raw/alaw", "adpcm16", "audio/x-pcmu8base64-opus", "audio/x-alaw", "PCMA", "opus", "g722",
     "audio/amr", "pcm16be", "mulaw/l16"],
)  # fmt: skip
def test_a_label_that_only_contains_a_known_word_is_not_taken_for_it(label: str) -> None:
    text = json.dumps(
        {
            "event": "start",
            "stream_sid": "s",
            "start": {"call_sid": "c", "account_sid": "a", "media_format": {"encoding": label}},
        }
    )
    assert isinstance(decoder().decode_text(text.encode()), BadStart)


def test_fields_beside_a_nested_start_are_read_as_well() -> None:
    text = json.dumps(
        {
            "event": "start",
            "stream_sid": "s",
            "account_sid": "a",
            "media_format": {"encoding": "PCMU", "sample_rate": 8000},
            "start": {"call_sid": "c"},
        }
    )
    start = decoder().decode_text(text.encode())
    assert isinstance(start, Start)
    assert (start.tenant_id, start.media.encoding) == ("a", Encoding.MULAW)


@pytest.mark.parametrize("event", ["dtmf", "mark"])
@pytest.mark.parametrize(
    "more",
    [
        {"k" * (MAX_SIGNAL_BYTES + 1): 1},
        {f"key{number}" * 10: 1 for number in range(200)},
        {"name": "x" * MAX_SIGNAL_BYTES},
        json.loads('{"name":' + "[" * MAX_SIGNAL_BRACKETS + "]" * MAX_SIGNAL_BRACKETS + "}"),
    ],
)
@pytest.mark.parametrize("is_flat", [False, True])
def test_a_signal_of_a_size_or_a_depth_that_no_signal_has_is_refused(
    event: str, more: dict[str, object], *, is_flat: bool
) -> None:
    message = decode({"event": event, **(more if is_flat else {event: more})})
    assert isinstance(message, Refused)
    assert message.refusal is Refusal.INVALID_MESSAGE
    assert event in message.explanation


def test_what_stands_beside_a_signal_does_not_make_it_longer() -> None:
    message = decode({"event": "mark", "mark": {"name": "m"}, "more": "x" * MAX_SIGNAL_BYTES})
    assert message == SignalMessage(Signal.MARK, '{"name": "m"}')
