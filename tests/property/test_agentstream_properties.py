"""The decoder against Python's own `json` and `base64`."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_oracle import NotJson, read_base64, read_counter, read_json, unwrapped

from adapters.inbound.dialects.agentstream import (
    MAX_SIGNAL_BYTES,
    Agentstream,
    AgentstreamDecoder,
)
from adapters.inbound.handshake import Handshake
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Known,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
)
from domain.events import EndReason
from domain.sequence import MAX_SEQ
from examples import examples

DIALECT = Agentstream()
DEEP = "[" * 100_000 + "]" * 100_000
KINDS = {
    "start": (Start, BadStart),
    "stop": End,
    "closed": End,
    "dtmf": SignalMessage,
    "mark": SignalMessage,
    "connected": Known,
    "clear": Known,
}
ENVELOPE = {"event", "stream_sid", "streamSid", "sequence_number", "sequenceNumber"}


OWN = "s"
"""The stream_sid that the start of every connection has named."""


def names_another(message: dict[str, Any]) -> bool:
    for name in ("stream_sid", "streamSid"):
        sid = message.get(name)
        if isinstance(sid, str | int) and not isinstance(sid, bool) and sid != "":
            return str(sid) != OWN
    return False


def expected_of(text: str) -> object:
    """Say what must come of a text: the message, or of a refusal only its code.

    Of a start, a signal and an end only the kind.
    """
    try:
        message = read_json(unwrapped(text))
    except NotJson:
        return Refusal.MALFORMED_JSON
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        return Refusal.INVALID_MESSAGE
    if message["event"] in {"media", "dtmf", "mark", "stop", "closed"} and names_another(message):
        return Refusal.UNEXPECTED_EVENT
    if message["event"] == "media":
        return expected_of_media(message.get("media"))
    return KINDS.get(message["event"], Unknown)


def expected_of_media(media: Any) -> object:
    if not isinstance(media, dict):
        return Refusal.INVALID_AUDIO
    track = media.get("track")
    if track is not None and not isinstance(track, str):
        return Refusal.UNSUPPORTED_TRACK
    audio = read_base64(media.get("payload"))
    if audio is None:
        return Refusal.INVALID_AUDIO
    other = None if track in (None, "", "inbound") else track
    return Audio(read_counter(media.get("chunk"), MAX_SEQ), audio, other)


def decoder(remarks: list[str] | None = None) -> AgentstreamDecoder:
    """Return a decoder whose stream is started; what it remarks goes to `remarks`."""
    started = AgentstreamDecoder({}, ([] if remarks is None else remarks).append)
    start = {"event": "start", "start": {"stream_sid": OWN, "call_sid": "c", "account_sid": "a"}}
    assert isinstance(started.decode_text(json.dumps(start).encode()), Start)
    if remarks is not None:
        remarks.clear()  # the start has no sample rate
    return started


def decode(text: str, remarks: list[str] | None = None) -> Message:
    """Decode with and without the short cuts, as text and as binary: all must be one."""
    data = text.encode()
    message = decoder(remarks).decode_text(data)
    assert decoder()._read(unwrapped(text).encode()) == message
    assert decoder()._read_long(data) in (None, message)
    assert decoder().decode_binary(data) == message
    return message


def check_decoded(text: str) -> None:
    remarks: list[str] = []
    message = decode(text, remarks)
    expected = expected_of(text)
    if isinstance(message, Audio):
        assert len(remarks) == (message.seq is None)
    if isinstance(expected, Refusal):
        assert isinstance(message, Refused), expected
        assert message.refusal is expected
    elif expected is SignalMessage and len(text) > MAX_SIGNAL_BYTES:
        assert isinstance(message, SignalMessage | Refused)
    elif isinstance(expected, type | tuple):
        assert isinstance(message, expected)
    else:
        assert message == expected


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
AUDIO = st.binary(max_size=64)
ANY_JSON = JSON_VALUES.map(json.dumps)

EVENTS = st.sampled_from(
    ['"media"'] * 6
    + ['"stop"', '"closed"', '"dtmf"', '"mark"', '"clear"', '"connected"', '"start"', '"silence"']
    + ['"med\\u0069a"', '"Media"', "null", "1", "[]", '{"media":1}']
)
PAYLOADS = st.one_of(
    AUDIO.map(lambda audio: json.dumps(b64encode(audio).decode())),
    AUDIO.map(lambda audio: json.dumps(b64encode(audio).decode()).replace("/", "\\/")),
    AUDIO.map(lambda audio: json.dumps(urlsafe_b64encode(audio).decode())),
    AUDIO.map(lambda audio: json.dumps(b64encode(audio).decode().rstrip("="))),
    st.tuples(AUDIO, st.sampled_from([" ", "\n", "=", "==", "\0", "é", "A", "\\"])).map(
        lambda pair: json.dumps(b64encode(pair[0]).decode() + pair[1])
    ),
    st.text("ABab01+/=-_ \n", max_size=12).map(json.dumps),
    st.sampled_from(["null", "1", "true", "[]", "{}", '""', '"\\ud800"', '"AAA="', '"AAA=AAA="']),
    ANY_JSON,
)
CHUNKS = st.one_of(
    st.integers(0, MAX_SEQ).map(str),
    st.integers(0, MAX_SEQ).map(lambda chunk: f'"{chunk}"'),
    st.integers(-3, 3).flatmap(lambda chunk: st.sampled_from([str(chunk), f'"{chunk}"'])),
    st.integers(2**53 - 3, 2**53 + 3).flatmap(
        lambda chunk: st.sampled_from([str(chunk), f'"{chunk}"'])
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.text("0123456789", min_size=15, max_size=18).map(json.dumps),
    st.text(max_size=3).map(json.dumps),
    st.sampled_from(
        ["null", "true", "false", "1.0", "1.5", "1e2", '"1e0"', '"+1"', '"1."', '"1.5"', '"0x1"',
         "-0", '"-0"', "01", '"01"', '"1.0"', '" 1"',
         '"1\\n"', '"\\u0031"', '"\\u0663"', '""', "NaN", "Infinity", "1e999", "9" * 5_000,
         f'"{"9" * 5_000}"', "[1]", "{}", '"1_0"', "18446744073709551616"]
    ),
    ANY_JSON,
)  # fmt: skip
UNKNOWN = st.one_of(
    ANY_JSON,
    JSON_VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.sampled_from(["NaN", '"\\ud800"', '"\\ude00\\ud83d"', '"\\ud83d\\ude00"', '"\\q"', "01",
                     "9" * 5_000, "1e999", "[" * 20 + "]" * 20, "[1,]", "tru"]),
)  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["Event", "Media", "sequence_number", "timestamp", "Track"]),
).map(json.dumps)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])
LEADING = st.sampled_from(
    [""] * 10 + [" ", "\n", "\v", "\ufeff", "\ufeff \n", " \ufeff", "\0", "x"]
)
TRAILING = st.sampled_from(
    [""] * 10 + [" ", "\n", "x", "}", ",", "{}", "\0", "\0\0", "\n\0 ", "\ufeff", "\x0b", "\xa0"]
)
TRACKS = st.sampled_from(
    ['"inbound"'] * 6 + ['"outbound"', '"Inbound"', '""', "null", "0", "{}", '"inb\\u006fund"']
)
SIDS = st.sampled_from(['"s"'] * 6 + ['"other"', '""', "null", "7", "true", "[]", '"\\u0073"'])


@st.composite
def objects(draw: st.DrawFn, right: Any, odd: Any) -> str:
    """Draw an object with the right fields in any order, and odd or repeated ones."""
    fields = draw(st.permutations(draw(right) + draw(st.lists(odd, max_size=2))))
    dropped = draw(st.integers(0, 15))
    fields = [field for place, field in enumerate(fields) if place != dropped]
    space = draw(SPACE)
    body = f",{space}".join(f"{name}{space}:{space}{value}" for name, value in fields)
    return f"{{{space}{body}{space}}}"


MEDIA = objects(
    st.tuples(PAYLOADS, CHUNKS).map(
        lambda pair: [('"payload"', pair[0]), ('"chunk"', pair[1])],
    ),
    st.one_of(
        st.tuples(st.just('"payload"'), PAYLOADS),
        st.tuples(st.just('"chunk"'), CHUNKS),
        st.tuples(st.just('"track"'), TRACKS),
        st.tuples(NAMES, UNKNOWN),
    ),
)
MESSAGES = st.tuples(
    LEADING,
    objects(
        st.tuples(EVENTS, MEDIA).map(lambda pair: [('"event"', pair[0]), ('"media"', pair[1])]),
        st.one_of(
            st.tuples(st.just('"event"'), EVENTS),
            st.tuples(st.just('"media"'), MEDIA | ANY_JSON),
            st.tuples(st.sampled_from(['"stream_sid"', '"streamSid"']), SIDS),
            st.tuples(NAMES, UNKNOWN),
        ),
    ),
    TRAILING,
).map("".join)


@settings(max_examples=examples(500))
@given(MESSAGES)
@example('{"event":"media","media":{"payload":"AAA=","chunk":1},"x":' + DEEP + "}")
@example('{"event":"media","media":{"payload":"AAA=","chunk":' + DEEP + "}}")
@example('{"event":"media","media":' + DEEP + "}")
@example('{"event":"media","media":{"payload":"AAA=","chunk":1},"media":null}')
@example('{"event":"media","media":null,"media":{"payload":"AAA=","chunk":1}}')
@example('{"event":"media","media":{"payload":"A","payload":"AAA=","chunk":"x","chunk":"2"}}')
@example('{"event":"media","media":{"payload":"AAA=","payload":"A","chunk":"2","chunk":"x"}}')
@example('{"event":"stop","media":{"payload":"AAA="},"event":"media"}')
@example('{"event":"media","media":{"payload":"AAA="},"event":"stop"}')
@example('{"event":"media","media":{"payload":"AAA=","chunk":1,"chunk":null}}')
@example('{"event":"media","media":{"payload":"AAA=","track":"outbound","track":"inbound"}}')
@example('{"event":"media","media":{"payload":"AAA=","track":"inbound","track":"outbound"}}')
@example('{"event":"media","media":{"payload":"AAA=","track":1e999}}')
@example('{"event":"media","media":{"payload":"AAA=","track":' + "9" * 5_000 + "}}")
@example('{"event":"media","stream_sid":"","streamSid":"other","media":{"payload":"AAA="}}')
@example('{"event":"media","stream_sid":"other","stream_sid":"s","media":{"payload":"AAA="}}')
@example('\ufeff{"event":"media","media":{"payload":"' + "AAAA" * 400 + '","chunk":1}}\0')
def test_media_is_accepted_exactly_where_json_and_base64_accept_it(text: str) -> None:
    check_decoded(text)


@settings(max_examples=examples(200))
@given(
    st.one_of(
        st.text(),
        ANY_JSON,
        st.lists(st.sampled_from('{}[]",:\\ueventmediapayloadchunk01.-+ \n'), max_size=40).map(
            "".join
        ),
        MESSAGES.flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end])),
    )
)
def test_any_text_is_decoded_alike_with_and_without_the_short_cut(text: str) -> None:
    check_decoded(text)


@settings(max_examples=examples(200))
@given(
    st.binary(max_size=200)
    | st.tuples(MESSAGES, st.binary(max_size=3), st.integers(0, 200)).map(
        lambda drawn: drawn[0].encode()[: drawn[2]] + drawn[1] + drawn[0].encode()[drawn[2] :]
    )
)
@example(b'{"event":"media","media":{"payload":"AAA=","chunk":1},"x":"\xff"}')
@example(b'{"event":"stop","x":"\xed\xa0\x80"}')
def test_any_bytes_are_read_as_the_text_that_they_are(data: bytes) -> None:
    message = decoder().decode_binary(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert isinstance(message, Refused)
        assert message.refusal is Refusal.MALFORMED_JSON
    else:
        assert message == decoder().decode_text(text.encode())


@settings(max_examples=examples(300))
@given(AUDIO, st.integers(0, MAX_SEQ), st.booleans(), st.integers(0, 20), SPACE)
def test_a_right_frame_is_never_refused(
    audio: bytes, chunk: int, is_text: bool, zeros: int, space: str
) -> None:
    digits = str(chunk).zfill(min(zeros, 16))
    written = f'"{digits}"' if is_text else str(chunk)
    payload = b64encode(audio).decode()
    text = (
        f'{{"event":{space}"media","sequence_number":"7","media":{{"chunk":{written},{space}'
        f'"timestamp":"20","payload":"{payload}"}},"stream_sid":"s"}}'
    )
    assert decode(text) == Audio(chunk, audio)


INNER = st.dictionaries(
    st.sampled_from(["digit", "duration", "name", "finished", "event"]) | st.text(max_size=4),
    JSON_VALUES,
    max_size=4,
)


@settings(max_examples=examples(200))
@given(st.sampled_from(["dtmf", "mark"]), INNER, st.booleans())
@example("dtmf", {"dtmf": "5", "digit": "5"}, True)
@example("mark", {"mark": {"name": "m"}, "name": "x", "event": 1}, True)
def test_a_signal_keeps_its_object_nested_or_flat(
    event: str, inner: dict[str, Any], ascii_only: bool
) -> None:
    nested = decode(
        json.dumps({"event": event, "stream_sid": "s", event: inner}, ensure_ascii=ascii_only)
    )
    flat = decode(json.dumps({**inner, "event": event, "sequence_number": 1}))
    beside: Any = {name: value for name, value in inner.items() if name not in ENVELOPE}
    if isinstance(inner.get(event), dict):
        beside = inner[event]
    assert isinstance(nested, SignalMessage)
    assert isinstance(flat, SignalMessage)
    assert json.loads(nested.details) == inner
    assert json.loads(flat.details) == beside


@settings(max_examples=examples(200))
@given(st.sampled_from(["stop", "closed"]), st.sampled_from(["nested", "flat", "none"]), JSON_VALUES
       | st.sampled_from(["callended", "stopped"]))  # fmt: skip
def test_an_end_has_one_of_two_reasons(event: str, form: str, reason: Any) -> None:
    inner = {"reason": reason}
    message = {"event": event, **({"stop": inner} if form == "nested" else {})}
    if form == "flat":
        message |= inner
    hung_up = reason == "callended" and form != "none"
    assert decode(json.dumps(message)) == End(EndReason.CALLENDED if hung_up else EndReason.STOPPED)


IDENTIFIERS = st.text("AZaz09._~@+=-", min_size=1, max_size=128).filter(
    lambda name: name not in {".", ".."}
)
SPELLINGS = {
    "stream_sid": "streamSid",
    "call_sid": "callSid",
    "account_sid": "accountSid",
    "custom_parameters": "customParameters",
    "media_format": "mediaFormat",
    "sample_rate": "sampleRate",
    "bit_rate": "bitRate",
    "sequence_number": "sequenceNumber",
}


@settings(max_examples=examples(300))
@given(data=st.data())
def test_a_start_means_the_same_in_every_spelling(data: st.DataObject) -> None:
    stream, call, account = (data.draw(IDENTIFIERS) for _ in range(3))
    caller = data.draw(st.none() | st.text(min_size=1, max_size=14))
    parameters = data.draw(st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3))
    rate = data.draw(st.sampled_from([8_000, 16_000, 24_000]))
    label = data.draw(st.sampled_from(["base64", "raw", "audio/x-raw", "audio/x-mulaw"]))

    def spelt(fields: dict[str, Any]) -> dict[str, Any]:
        return {
            SPELLINGS.get(name, name) if data.draw(st.booleans()) else name: value
            for name, value in fields.items()
        }

    written_rate = data.draw(
        st.sampled_from([rate, str(rate), f"{rate}Hz", f"{rate // 1_000}kHz", f"{rate} hz"])
    )
    inner = spelt(
        {
            "call_sid": call,
            "account_sid": account,
            "from": caller,
            "custom_parameters": parameters,
            "media_format": spelt(
                {"encoding": label, "sample_rate": written_rate, "bit_rate": "128kbps"}
            ),
        }
    )
    outside = spelt({"sequence_number": data.draw(st.sampled_from([1, "1"]))})
    sid = spelt({"stream_sid": stream})
    is_flat, sid_is_inside = data.draw(st.booleans()), data.draw(st.booleans())
    if is_flat:
        message = {"event": "start", **outside, **sid, **inner}
    elif sid_is_inside:
        message = {"event": "start", **outside, "start": {**sid, **inner}}
    else:
        message = {"event": "start", **outside, **sid, "start": inner}
    remarks: list[str] = []
    found = decode(json.dumps(message), remarks)
    assert isinstance(found, Start)
    assert (found.stream_id, found.interaction_id, found.tenant_id) == (stream, call, account)
    assert (found.call.caller, found.call.call_sid) == (caller, call)
    assert found.call.custom_parameters == parameters
    assert found.media.sample_rate == rate
    assert found.media.encoding == ("mulaw" if "mulaw" in label else "pcm16")
    assert remarks == []


@settings(max_examples=examples(300))
@given(
    st.dictionaries(
        st.sampled_from(["start", "media_format", *SPELLINGS, *SPELLINGS.values(), "leg_sid"]),
        st.one_of(
            JSON_VALUES,
            st.sampled_from(["a", "x" * 129, "8000", {"encoding": "opus"}]),
            st.dictionaries(
                st.sampled_from(["media_format", "encoding", *SPELLINGS, "from", "leg_sid"]),
                JSON_VALUES | st.just("a"),
                max_size=6,
            ),
        ),
        max_size=6,
    ),
    st.dictionaries(st.sampled_from(["sample-rate", "sample_rate"]), st.text(max_size=6)),
)
def test_any_start_is_a_start_or_a_bad_one_with_fitting_names(
    fields: dict[str, Any], query: dict[str, str]
) -> None:
    reader = DIALECT.decoder(Handshake(query=query), list[str]().append)
    message = reader.decode_text(json.dumps({**fields, "event": "start"}).encode())
    assert isinstance(message, Start | BadStart)
    if isinstance(message, Start):
        for name in (message.tenant_id, message.interaction_id, message.stream_id):
            assert re.fullmatch("[A-Za-z0-9._~@+=-]{1,128}", name)


def test_the_oracle_itself_tells_right_from_wrong() -> None:
    right = '{"event":"media","media":{"payload":"AAA=","chunk":"1"}}'
    assert expected_of(right) == Audio(1, b"\0\0")
    assert expected_of(right + "x") is Refusal.MALFORMED_JSON
    assert expected_of(right.replace('"1"', "1.0")) == Audio(1, b"\0\0")
    assert expected_of(right.replace('"1"', "1.5")) == Audio(None, b"\0\0")
    assert expected_of("\ufeff " + right + "\0") == Audio(1, b"\0\0")
    assert expected_of(right[:-2] + ',"track":"outbound"}}') == Audio(1, b"\0\0", "outbound")
    assert expected_of(right[:-2] + ',"track":1}}') is Refusal.UNSUPPORTED_TRACK
    assert expected_of(right[:-1] + ',"stream_sid":"x"}') is Refusal.UNEXPECTED_EVENT
    assert expected_of(right.replace("=", "")) is Refusal.INVALID_AUDIO
    assert expected_of(right.replace('"1"', "null")) == Audio(None, b"\0\0")
    with pytest.raises(NotJson):
        read_json("NaN")
