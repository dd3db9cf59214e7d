"""The decoder against Python's own `json` and `base64`."""

import json
import re
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from json_oracle import NotJson, is_message, read_base64, read_json, unwrapped

from adapters.inbound.dialects.exostreamkit import Exostreamkit, _read, _read_long
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Refusal,
    Refused,
    Start,
    Unknown,
)
from domain.events import NEW_RUN, Resume
from domain.sequence import MAX_SEQ
from examples import examples

DIALECT = Exostreamkit()
KINDS = (Start, Audio, End, Unknown, Refused)
DEEP = "[" * 100_000 + "]" * 100_000


def expected_of(text: str) -> object:
    """Say what must come of a text that is not a start; of a refusal only its code."""
    try:
        message = read_json(unwrapped(text))
    except NotJson:
        return Refusal.MALFORMED_JSON
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        return Refusal.INVALID_MESSAGE
    if message["event"] == "end":
        return End
    if message["event"] != "audio":
        return Unknown
    seq = message.get("seq")
    if type(seq) is not int or not 0 <= seq <= MAX_SEQ:
        return Refusal.INVALID_SEQ
    audio = read_base64(message.get("data"))
    return Refusal.INVALID_AUDIO if audio is None else Audio(seq, audio)


def check_decoded(text: str) -> None:
    message = DIALECT.decode_text(text.encode())
    expected = expected_of(text)
    if isinstance(expected, Refusal):
        assert isinstance(message, Refused), expected
        assert message.refusal is expected
    elif isinstance(expected, type):
        assert isinstance(message, expected)
    else:
        assert message == expected
    assert _read(unwrapped(text).encode()) == message
    assert _read_long(text.encode()) in (None, message)


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
BASE64_LETTERS = st.text("ABab01+/=-_ \n", max_size=12)

EVENTS = st.sampled_from(['"audio"'] * 8 + ['"end"', '"ping"', '"aud\\u0069o"', "null", "1", "[]"])
DATA = st.one_of(
    AUDIO.map(lambda audio: json.dumps(b64encode(audio).decode())),
    AUDIO.map(lambda audio: json.dumps(urlsafe_b64encode(audio).decode())),
    AUDIO.map(lambda audio: json.dumps(b64encode(audio).decode().rstrip("="))),
    st.tuples(AUDIO, st.sampled_from([" ", "\n", "=", "==", "\0", "é", "A", "\\"])).map(
        lambda pair: json.dumps(b64encode(pair[0]).decode() + pair[1])
    ),
    AUDIO.map(lambda audio: '"' + "".join(f"\\u{ord(c):04x}" for c in b64encode(audio).decode()))
    .map(lambda text: text + '"'),
    BASE64_LETTERS.map(json.dumps),
    st.sampled_from(["null", "1", "true", "[]", "{}", "[0,0]", '""', '"\\ud800"', '"AAA="']),
    JSON_VALUES.map(json.dumps),
)  # fmt: skip
SEQS = st.one_of(
    st.integers(0, MAX_SEQ).map(str),
    st.integers(-3, 3).map(str),
    st.integers(2**53 - 3, 2**53 + 3).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(
        ["1.0", '"42"', "true", "false", "null", "-1", "-0", "01", "+1", "1e2", "1.", ".5", "0x1",
         "NaN", "Infinity", "-Infinity", "9" * 5_000, "-" + "9" * 5_000, "1" + "0" * 400, "1e999",
         "[1]", "{}", '""', "1_0", "9007199254740991.0", "18446744073709551616"]
    ),
    JSON_VALUES.map(json.dumps),
)  # fmt: skip
UNKNOWN = st.one_of(
    JSON_VALUES.map(json.dumps),
    JSON_VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.sampled_from(["NaN", '"\\ud800"', '"\\ude00\\ud83d"', '"\\ud83d\\ude00"', '"\\q"', "01",
                     '"\\u00"', "9" * 5_000, "1e999", "[" * 20 + "]" * 20, "[1,]", "tru"]),
)  # fmt: skip
NAMES = st.one_of(st.text(max_size=5), st.sampled_from(["Event", "event ", "Seq", "data\0"])).map(
    json.dumps
)
FIELDS = st.one_of(
    st.tuples(st.just('"event"'), EVENTS),
    st.tuples(st.just('"data"'), DATA),
    st.tuples(st.just('"seq"'), SEQS),
    st.tuples(NAMES, UNKNOWN),
)
RIGHT = st.tuples(AUDIO, st.integers(0, MAX_SEQ)).map(
    lambda pair: [
        ('"event"', '"audio"'),
        ('"data"', json.dumps(b64encode(pair[0]).decode())),
        ('"seq"', str(pair[1])),
    ]
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])
LEADING = st.sampled_from([""] * 10 + [" ", "\v", "\ufeff", "\ufeff \n", " \ufeff", "\0", "x"])
TRAILING = st.sampled_from(
    [""] * 10 + [" ", "\n", "x", "}", ",", "{}", "\0", "\0\0", "\n\0 ", "\ufeff", "\x0b", "\xa0"]
)


@st.composite
def messages(draw: st.DrawFn) -> str:
    """Draw a right audio message with odd and repeated fields, and sometimes odd ends."""
    fields = draw(st.permutations(draw(RIGHT) + draw(st.lists(FIELDS, max_size=3))))
    dropped = draw(st.integers(0, 12))
    fields = [field for place, field in enumerate(fields) if place != dropped]
    space = draw(SPACE)
    body = f",{space}".join(f"{name}{space}:{space}{value}" for name, value in fields)
    text = f"{draw(LEADING)}{{{space}{body}{space}}}{space}{draw(TRAILING)}"
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text


@settings(deadline=None, max_examples=examples(600))
@given(messages())
@example('{"event":"audio","data":"AAA=","seq":1,"x":' + DEEP + "}")
@example('{"event":"audio","data":"AAA=","seq":' + DEEP + "}")
@example('{"event":"audio","data":"AAA=","seq":1,"seq":2,"data":"AAAA","event":"audio"}')
@example('{"event":"end","data":"AAA=","seq":"x","event":"audio","seq":3}')
@example('{"event":"audio","data":"AAA=","seq":"x","seq":2}')
@example('{"event":"audio","data":"AAA=","seq":1,"seq":"x"}')
@example('{"event":"audio","data":"A","data":"AAA=","seq":1}')
@example('{"event":"audio","data":"AAA=","data":"A","seq":1}')
@example('{"event":"audio","data":"AAA=","seq":1,"event":"end"}')
@example('{"event":"audio","data":"AAA=","seq":1,"d\\u0061ta":"AAAA"}')
@example('{"event":"audio","x":{"data":"AAA="},"data":"","seq":1}')
@example('{"event":"audio","x\\"data":"AAA=","data":"","seq":1}')
@example('{"event":"audio","data":"AAA=\\"","seq":1}')
@example('{"event":"audio","data":"AAA=","seq":1,"y":"data"}')
@example('{"event":"audio","data":"AAA=\n","seq":1}')
@example("{" + ",".join(f'"f{n}":{n}' for n in range(9_000)) + ',"event":"audio","seq":1}')
@example(
    '{"event":"audio","data":"AAA=","seq":1,' + ",".join(f'"{n}":[{n}]' for n in range(9_000)) + "}"
)
def test_audio_is_accepted_exactly_where_json_and_base64_accept_it(text: str) -> None:
    check_decoded(text)


@settings(deadline=None, max_examples=examples(300))
@given(RIGHT, st.lists(st.tuples(NAMES, JSON_VALUES.map(json.dumps)), max_size=3))
def test_a_right_message_is_never_refused(
    right: list[tuple[str, str]], unknown: list[tuple[str, str]]
) -> None:
    fields = [field for field in unknown if field[0] not in {'"event"', '"data"', '"seq"'}]
    text = "{" + ",".join(f"{name}:{value}" for name, value in fields + right) + "}"
    message = DIALECT.decode_text(text.encode())
    assert isinstance(message, Audio)
    assert str(message.seq) == right[2][1]
    assert json.dumps(b64encode(message.audio).decode()) == right[1][1]
    if not any("\\" in field or '"data"' in field for pair in unknown for field in pair):
        assert _read_long(text.encode()) == message


@settings(deadline=None, max_examples=examples(500))
@given(
    st.one_of(
        st.text(),
        JSON_VALUES.map(json.dumps),
        st.lists(st.sampled_from('{}[]",:\\ueventaudioseqdata01.-+e \n'), max_size=40).map("".join),
        st.lists(FIELDS, max_size=4).map(
            lambda fields: "{" + ",".join(f"{name}:{value}" for name, value in fields)
        ),
    )
)
def test_any_text_is_a_message_or_a_refusal_on_both_paths(text: str) -> None:
    message = DIALECT.decode_text(text.encode())
    assert isinstance(message, KINDS)
    assert _read(unwrapped(text).encode()) == message


@settings(deadline=None, max_examples=examples(200))
@given(st.text(st.characters(categories=["Cs", "Lu"]), max_size=8), st.booleans())
def test_text_that_is_no_unicode_is_refused_and_does_not_raise(text: str, inside: bool) -> None:
    whole = '{"event":"audio","data":"AAA=","seq":1,"x":"' + text + '"}' if inside else text
    assert isinstance(DIALECT.decode_text(whole.encode(errors="surrogatepass")), KINDS)


@settings(deadline=None, max_examples=examples(200))
@given(st.binary(max_size=400))
def test_bytes_of_no_message_are_audio_without_a_number(data: bytes) -> None:
    assume(not is_message(data))
    assert DIALECT.decode_binary(data) == Audio(None, data)


PCM_LIKE_JSON = st.one_of(
    st.tuples(
        st.sampled_from([b"{", b'{"', b' {"', b'\xef\xbb\xbf{"', b'{"event":"', b'{"event":"end"']),
        st.binary(max_size=60),
        st.sampled_from([b"", b"}", b'"}', b'":1}', b"}\0"]),
    ).map(b"".join),
    st.tuples(messages(), st.binary(max_size=2), st.integers(0, 200)).map(
        lambda drawn: drawn[0].encode()[: drawn[2]] + drawn[1] + drawn[0].encode()[drawn[2] :]
    ),
    st.dictionaries(st.text(max_size=5) | st.just("event"), JSON_VALUES, max_size=3).map(
        lambda fields: json.dumps(fields).encode()
    ),
)


@settings(deadline=None, max_examples=examples(500))
@given(messages().map(str.encode) | PCM_LIKE_JSON)
@example(b'{"event":"end"}')
@example(b'\xef\xbb\xbf\n {"event":"end"}\n\0')
@example(b'{"event":"x","event":1}')
@example(b'{"event":1,"event":"x"}')
@example(b'{"event":"audio","data":"AAA=","seq":1,"x":"\xff"}')
@example(b'{"Event":"audio","data":"AAA=","seq":1}')
@example(b'["event"]')
@example(b"{}")
@example(b"{" + b" " * 60_000)
@example(b" " * 60_000)
def test_binary_is_audio_unless_it_is_an_object_with_a_text_event(data: bytes) -> None:
    message = DIALECT.decode_binary(data)
    if is_message(data):
        assert message == DIALECT.decode_text(data)
        assert not isinstance(message, Audio) or message.seq is not None
    else:
        assert message == Audio(None, data)


START = {
    "event": '"start"',
    "interaction_id": '"int-123"',
    "tenant_id": '"tenant-abc"',
    "sample_rate": "8000",
    "encoding": '"pcm16"',
}
START_VALUES = st.one_of(
    st.sampled_from(['"a"', '"a.b"', '"."', '".."', '"a\\n"', '"\\u0061"', '"pcm16"', "8000",
                     "16000", "24000", "48000", "8000.0", "true", "false", "null", "9" * 5_000,
                     '"a:b"', '"\\u0000"', json.dumps("x" * 128), json.dumps("x" * 129)]),
    JSON_VALUES.map(json.dumps),
)  # fmt: skip
NAME_PATTERN = re.compile(r"[A-Za-z0-9._~@+=-]{1,128}")


def is_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and NAME_PATTERN.fullmatch(value) is not None
        and value not in {".", ".."}
    )


@settings(deadline=None, max_examples=examples(400))
@given(
    st.lists(
        st.tuples(st.sampled_from([*list(START)[1:], "resume", "unknown"]), START_VALUES),
        max_size=3,
    )
)
def test_a_start_is_accepted_exactly_where_the_contract_says(
    changes: list[tuple[str, str]],
) -> None:
    fields = [*START.items(), *changes]
    text = "{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}"
    start = read_json(text)
    assert isinstance(start, dict)
    rate = start["sample_rate"]
    possible = (
        is_name(start["interaction_id"])
        and is_name(start["tenant_id"])
        and type(rate) is int
        and rate in {8_000, 16_000, 24_000, 48_000}
        and start["encoding"] == "pcm16"
        and isinstance(start.get("resume", False), bool)
    )
    message = DIALECT.decode_text(text.encode())
    if possible:
        assert isinstance(message, Start)
        assert str(message.interaction_id) == str(message.stream_id) == start["interaction_id"]
        assert message.tenant_id == start["tenant_id"]
        assert message.media.sample_rate == rate
        assert message.continuation == (Resume() if start.get("resume", False) else NEW_RUN)
    else:
        assert isinstance(message, BadStart)


def test_the_oracle_itself_tells_right_from_wrong() -> None:
    right = '{"event":"audio","data":"AAA=","seq":1}'
    assert expected_of(right) == Audio(1, b"\0\0")
    assert expected_of(right + "x") is Refusal.MALFORMED_JSON
    assert expected_of(right.replace("1", "1.0")) is Refusal.INVALID_SEQ
    assert expected_of(right.replace("=", "")) is Refusal.INVALID_AUDIO
    with pytest.raises(NotJson):
        read_json("NaN")
