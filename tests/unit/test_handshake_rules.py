"""Which requests can become a WebSocket (RFC 6455, 4.2.1), and which have a body."""

import pytest

from adapters.inbound.reporting.refusals import Headers, Outcome
from adapters.inbound.websocket.handshake_rules import (
    MAX_HEADER_LINE_BYTES,
    MAX_HEADERS,
    asks_for_websocket,
    has_body,
    refusal_of_handshake,
    with_plain_upgrade,
)

KEY = (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")
VERSION = (b"sec-websocket-version", b"13")
UPGRADE = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
PLAIN = [(b"host", b"x"), *UPGRADE, KEY, VERSION]


def outcome(
    headers: Headers = PLAIN,
    *more: tuple[bytes, bytes],
    method: bytes = b"GET",
    target: bytes = b"/v1/ingest",
    http_version: bytes = b"1.1",
) -> Outcome | None:
    refusal = refusal_of_handshake(method, target, http_version, [*headers, *more])
    return None if refusal is None else refusal.outcome


def without(name: bytes) -> Headers:
    return [(key, value) for key, value in PLAIN if key != name]


def test_a_plain_handshake_is_taken() -> None:
    assert asks_for_websocket(PLAIN)
    assert outcome() is None
    assert outcome(PLAIN, (b"content-length", b"0")) is None


@pytest.mark.parametrize("version", [b"8", b"13, 8", b"", b"013"])
def test_another_version_is_refused_with_the_one_that_is_spoken(version: bytes) -> None:
    headers = [*without(VERSION[0]), (VERSION[0], version)]
    refusal = refusal_of_handshake(b"GET", b"/", b"1.1", headers)
    assert refusal is not None
    assert (refusal.status, VERSION in refusal.headers) == (426, True)
    assert outcome(without(VERSION[0])) is Outcome.WRONG_VERSION


@pytest.mark.parametrize(
    "keys",
    [[], [KEY[1]] * 2, [b""], [b"AAAA"], [b"A" * 24], [b"*" * 22 + b"=="], [KEY[1] + b" "]],
    ids=["none", "twice", "empty", "short", "long", "not base64", "blank"],
)
def test_there_is_one_key_of_16_bytes(keys: list[bytes]) -> None:
    headers = [*without(KEY[0]), *((KEY[0], key) for key in keys)]
    assert outcome(headers) is Outcome.UNREADABLE


def test_a_handshake_is_a_get_of_http_1_1() -> None:
    assert outcome(method=b"POST") is Outcome.WRONG_METHOD
    assert outcome(http_version=b"1.0") is Outcome.UNREADABLE


def test_lines_are_bounded_in_length_and_number() -> None:
    name = b"x-long"
    most = MAX_HEADER_LINE_BYTES - len(name)
    assert outcome(PLAIN, (name, b"x" * most)) is None
    assert outcome(PLAIN, (name, b"x" * (most + 1))) is Outcome.HEADERS_TOO_LARGE
    assert outcome(target=b"/" * MAX_HEADER_LINE_BYTES) is None
    assert outcome(target=b"/" * (MAX_HEADER_LINE_BYTES + 1)) is Outcome.HEADERS_TOO_LARGE
    more = [(b"x", b"y")] * (MAX_HEADERS - len(PLAIN))
    assert outcome(PLAIN, *more) is None
    assert outcome(PLAIN, *more, (b"x", b"y")) is Outcome.HEADERS_TOO_LARGE


@pytest.mark.parametrize(
    ("header", "has"),
    [
        ((b"content-length", b"5"), True),
        ((b"content-length", b"10"), True),
        ((b"content-length", b"0"), False),
        ((b"transfer-encoding", b"chunked"), True),
        ((b"transfer-encoding", b"identity"), True),
    ],
)
def test_a_body_is_told_by_its_headers(header: tuple[bytes, bytes], has: bool) -> None:
    assert has_body([*PLAIN, header]) is has
    assert outcome(PLAIN, header) is (Outcome.BODY if has else None)


@pytest.mark.parametrize("length", [b"00", b"0 ", b"000"])
def test_no_body_has_the_length_0_and_no_other_zero(length: bytes) -> None:
    header = (b"content-length", length)
    assert not has_body([*PLAIN, header])
    assert outcome(PLAIN, header) is Outcome.UNREADABLE


def test_a_header_value_holds_no_control_character() -> None:
    taken = {byte for byte in range(256) if outcome(PLAIN, (b"x", b"a%cb" % byte)) is None}
    assert taken == {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}
    assert outcome(PLAIN, (b"x", b"a\x01")) is Outcome.UNREADABLE
    assert outcome(PLAIN, (b"x", b"\n")) is Outcome.UNREADABLE


@pytest.mark.parametrize(
    "lines",
    [
        [(b"upgrade", b"websocket"), (b"connection", b"keep-alive"), (b"connection", b"Upgrade")],
        [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"connection", b"keep-alive")],
        [(b"upgrade", b"websocket"), (b"connection", b"keep-alive,\tupgrade , x")],
        [(b"upgrade", b"h2c, WebSocket"), (b"connection", b"Upgrade")],
        [(b"upgrade", b"websocket"), (b"upgrade", b"h2c"), (b"connection", b", Upgrade,")],
    ],
)
def test_connection_and_upgrade_may_come_in_several_lines_and_lists(lines: Headers) -> None:
    assert asks_for_websocket(lines)
    assert sorted(with_plain_upgrade([KEY, *lines])) == sorted([KEY, *UPGRADE])


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [(b"upgrade", b"websocket")],
        [(b"connection", b"upgrade")],
        [(b"connection", b"upgrade"), (b"upgrade", b"h2c")],
        [(b"connection", b"keep-alive"), (b"upgrade", b"websocket")],
        [(b"connection", b"upgrade"), (b"upgrade", b"websocket/13")],
    ],
)
def test_what_does_not_ask_for_a_websocket_is_a_request_like_others(lines: Headers) -> None:
    assert not asks_for_websocket(lines)
