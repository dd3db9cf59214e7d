"""What a handshake shows, read whatever it is."""

from base64 import b64encode
from ipaddress import IPv4Address, IPv6Address, ip_address

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_streams import HANDSHAKE
from websockets.http11 import Request
from websockets.server import ServerProtocol

from adapters.inbound.access.authorization import read_credential
from adapters.inbound.reporting.origin import Address, Origin
from adapters.inbound.reporting.refusals import Headers
from adapters.inbound.websocket.handshake_rules import refusal_of_handshake, with_plain_upgrade
from application.access.admit_sender import (
    NoCredential,
    PairCredential,
    TokenCredential,
    UnusableCredential,
)
from examples import examples

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ENTRIES = st.one_of(
    ADDRESSES.map(str),
    ADDRESSES.map(lambda address: f" {address}\t"),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.sampled_from(["", " ", "unknown", "1.2.3", "1.2.3.4:5", "::1%eth0", "[::1]"]),
)
FORWARDED = st.one_of(
    ENTRIES,
    st.ip_addresses(v=4).map(lambda address: f"{address}:65535"),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]:443"),
    st.sampled_from(["[::1", "::1]", "[]", "[1.2.3.4]", "[::1]x", "1.2.3.4:", ":1", "[::1]:x"]),
)
"""As proxies write an address: some with the port, and with brackets around IPv6."""

HEADERS = st.lists(st.lists(FORWARDED, min_size=1, max_size=4).map(",".join), max_size=4)


def read_address(text: str) -> str | None:
    """Read an address the long way round."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def read_forwarded(text: str) -> str | None:
    """Read an address that may have a port or brackets, by taking them off first."""
    text = text.strip()
    head, colon, port = text.rpartition(":")
    has_port = colon and port.isdigit() and (head.endswith("]") or head.count(":") == 0)
    bare = head if has_port else text
    if bare.startswith("[") and bare.endswith("]"):
        return read_address(bare[1:-1]) if ":" in bare else None
    return read_address(bare)


def address_of(peer: str | None, forwarded_for: list[bytes], hops: int) -> Address | None:
    return Origin.of(peer, forwarded_for, hops).address


@settings(deadline=None, max_examples=examples(400))
@given(HEADERS, st.integers(0, 6), ENTRIES)
def test_the_client_is_counted_from_the_right_over_all_headers(
    headers: list[str], hops: int, peer: str
) -> None:
    if hops == 0 or not headers:
        expected = read_address(peer) if peer == peer.strip() else None
    else:
        from_the_right = [entry for header in headers for entry in header.split(",")][::-1]
        expected = read_forwarded(from_the_right[hops - 1]) if len(from_the_right) >= hops else None
        expected = expected and expected.partition("%")[0]  # a zone is of the sender's own host
    address = address_of(peer, [header.encode() for header in headers], hops)
    assert (None if address is None else str(address)) == expected


@settings(deadline=None, max_examples=examples(300))
@given(HEADERS, st.lists(ADDRESSES, min_size=1, max_size=4), st.lists(ENTRIES, max_size=3))
def test_nothing_that_a_client_sends_changes_what_the_proxies_added(
    spoofed: list[str], added: list[IPv4Address | IPv6Address], more: list[str]
) -> None:
    proxies = [str(address).encode() for address in added]
    client = [header.encode() for header in spoofed + more]
    honest = address_of("10.0.0.1", proxies, len(proxies))
    assert address_of("10.0.0.1", client + proxies, len(proxies)) == honest
    assert address_of("10.0.0.1", [b",".join(client + proxies)], len(proxies)) == honest


@settings(deadline=None, max_examples=examples(300))
@given(st.one_of(st.none(), st.text()), st.lists(st.binary(), max_size=4), st.integers(0, 20))
def test_any_headers_give_an_address_or_none(
    peer: str | None, headers: list[bytes], hops: int
) -> None:
    assert isinstance(address_of(peer, headers, hops), IPv4Address | IPv6Address | None)


@settings(deadline=None, max_examples=examples(500))
@given(
    st.one_of(
        st.binary(),
        st.binary().map(lambda value: b"Basic " + value),
        st.binary().map(lambda value: b"Bearer " + value),
        st.text("Basicere \t=:/+aZ09").map(str.encode),
    )
)
def test_any_header_is_some_credential_and_never_none(header: bytes) -> None:
    credential = read_credential([header])
    assert isinstance(credential, TokenCredential | PairCredential | UnusableCredential)
    if isinstance(credential, PairCredential):
        assert b64encode(credential.pair) in header
    if isinstance(credential, TokenCredential):
        assert credential.token.encode("ascii") in header


@settings(deadline=None, max_examples=examples(100))
@given(st.lists(st.binary(), max_size=4))
def test_only_one_header_can_be_read(headers: list[bytes]) -> None:
    credential = read_credential(headers)
    assert isinstance(credential, NoCredential) == (not headers)
    if len(headers) > 1:
        assert isinstance(credential, UnusableCredential)


@settings(deadline=None, max_examples=examples(300))
@given(st.binary())
def test_a_pair_is_read_exactly_where_it_has_a_colon(pair: bytes) -> None:
    credential = read_credential([b"Basic " + b64encode(pair)])
    if b":" in pair:
        assert credential == PairCredential(pair)
    else:
        assert isinstance(credential, UnusableCredential)


LINES = st.builds(
    lambda name, value: b"%b: %b\r\n" % (name, value),
    st.one_of(
        st.sampled_from(
            [b"X", b"Content-Length", b"Sec-WebSocket-Protocol", b"Origin", b"Upgrade"]
        ),
        st.binary(min_size=1, max_size=4),
    ),
    st.one_of(st.binary(max_size=8), st.sampled_from([b"0", b"00", b"0, 0", b"a, b", b"a\r\n b"])),
)


def read_by_h11(handshake: bytes) -> tuple[bytes, bytes, bytes, Headers] | None:
    """Read a request as `HttpGuard` does; None if it is none."""
    requests = h11.Connection(h11.SERVER)
    requests.receive_data(handshake)
    try:
        event = requests.next_event()
    except h11.RemoteProtocolError:
        return None
    assert isinstance(event, h11.Request)
    return event.method, event.target, event.http_version, list(event.headers)


@settings(deadline=None, max_examples=examples(500))
@given(st.lists(LINES, min_size=1, max_size=3), st.binary(max_size=4))
@example([b"X: a\x01b\r\n"], b"")
@example([b"Content-Length: 00\r\n"], b"")
def test_what_is_taken_for_a_handshake_is_one_for_websockets_too(
    lines: list[bytes], path: bytes
) -> None:
    """It never answers what it cannot read; what it refuses, it answers."""
    handshake = HANDSHAKE.replace(b"ingest", path) + b"".join(lines) + b"\r\n"
    read = read_by_h11(handshake)
    if read is None or refusal_of_handshake(*read) is not None:
        return
    method, target, _, headers = read
    written = [b"%b: %b\r\n" % header for header in with_plain_upgrade(headers)]
    server = ServerProtocol()
    server.receive_data(b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(written)))
    assert [type(event) for event in server.events_received()] == [Request]
