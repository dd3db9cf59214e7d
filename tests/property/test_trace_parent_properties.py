"""The grammar of W3C Trace Context, read the long way round."""

import string

from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.inbound.handshake import Handshake
from application.testing.strategies import traceparents
from domain.errors import InvalidTraceParent
from domain.trace_parent import TraceParent
from examples import examples

HEX = "0123456789abcdef"
RIGHT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

digits = st.text(HEX, min_size=1, max_size=34)
parts = st.one_of(
    st.sampled_from([2, 16, 32]).flatmap(lambda size: st.text(HEX, min_size=size, max_size=size)),
    st.sampled_from(["00", "ff", "01", "fe", "0" * 16, "0" * 32, "0" * 15 + "1", "0" * 31 + "1"]),
    st.sampled_from(["", "AB", "B7AD6B7169203331", "0a\n", "٣٣"]),
    digits,
)
headers = st.one_of(
    st.lists(parts, max_size=6).map("-".join),
    st.tuples(
        st.sampled_from(["00", "01", "fe", "ff"]),
        st.text(HEX, min_size=32, max_size=32),
        st.text(HEX, min_size=16, max_size=16),
        st.text(HEX, min_size=2, max_size=2),
        st.sampled_from(["", "-", "-x", "-00-extra", "x", " ", "\n"]),
    ).map(lambda it: "-".join(it[:4]) + it[4]),
    st.text(f"{HEX}-", max_size=60),
    st.text(max_size=60),
)


def expected(text: str) -> str | None:
    """What is published of a header, None if it is not valid."""
    version, trace_id, parent_id, flags = text[0:2], text[3:35], text[36:52], text[53:55]
    rest, dashes = text[55:], text[2:3] + text[35:36] + text[52:53]
    is_hex = all(letter in HEX for letter in version + trace_id + parent_id + flags)
    if len(text) < 55 or dashes != "---" or not is_hex or version == "ff":
        return None
    if int(trace_id, 16) == 0 or int(parent_id, 16) == 0:
        return None
    if version == "00":
        return None if rest else text
    if rest and not rest.startswith("-"):
        return None
    recorded = "01" if int(flags, 16) % 2 else "00"
    return f"00-{trace_id}-{parent_id}-{recorded}"


@settings(max_examples=examples(300))
@given(headers)
@example(RIGHT)
@example(RIGHT.upper())
@example(RIGHT + "-")
@example(RIGHT + "\n")
@example("cc" + RIGHT[2:] + "-what-the-future-will-be-like")
@example("cc" + RIGHT[2:] + ".what")
@example("ff" + RIGHT[2:])
@example(RIGHT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32))
@example(RIGHT.replace("b7ad6b7169203331", "0" * 16))
def test_a_header_is_read_by_the_grammar(text: str) -> None:
    try:
        read = str(TraceParent.read(text))
    except InvalidTraceParent:
        assert expected(text) is None
    else:
        assert read == expected(text)


@given(traceparents)
def test_what_is_written_is_read_as_it_was(traceparent: TraceParent) -> None:
    written = str(traceparent)
    assert expected(written) == written
    assert TraceParent.read(written) == traceparent


@given(
    st.lists(st.sampled_from([RIGHT, RIGHT[:-1], RIGHT.replace("b7", "c8")]), max_size=3),
    st.sampled_from(["", " ", "\t ", "\v"]),
    st.sampled_from([b"traceparent", b"TraceParent"]),
)
def test_a_handshake_has_the_trace_parent_of_its_only_header(
    lines: list[str], blank: str, name: bytes
) -> None:
    named = [(name, f"{blank}{line}{blank}".encode()) for line in lines]
    scope = {
        "path": "/",
        "query_string": b"",
        "headers": [*named, (b"tracestate", b"vendor=1")],
        "subprotocols": [],
        "client": None,
    }
    found = Handshake.of(scope).traceparent
    is_valid = len(lines) == 1 and not blank.strip(" \t") and expected(lines[0])
    assert (None if found is None else str(found)) == (lines[0] if is_valid else None)


def test_the_ids_of_a_trace_parent_are_checked_wherever_it_comes_from() -> None:
    for trace_id, parent_id, flags in (
        ("0" * 32, "1" * 16, 1),
        ("1" * 32, "0" * 16, 1),
        ("1" * 31, "1" * 16, 1),
        ("A" * 32, "1" * 16, 1),
        ("1" * 32, "1" * 17, 1),
        ("1" * 32, "1" * 16, 256),
        ("1" * 32, "1" * 16, -1),
        (string.hexdigits, "1" * 16, 1),
    ):
        try:
            TraceParent(trace_id, parent_id, flags)
        except InvalidTraceParent:
            continue
        raise AssertionError((trace_id, parent_id, flags))
