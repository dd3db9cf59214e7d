from ipaddress import ip_address

import pytest

from adapters.inbound.client_address import client_address

PEER = "10.0.0.9"


def address_of(*forwarded_for: bytes, hops: int, peer: str | None = PEER) -> str | None:
    address = client_address(peer, forwarded_for, hops)
    return None if address is None else str(address)


@pytest.mark.parametrize("hops", [0, 1, 2, 16])
def test_without_the_header_it_is_the_peer(hops: int) -> None:
    assert address_of(hops=hops) == PEER


def test_with_no_trusted_hop_the_header_is_not_believed() -> None:
    assert address_of(b"203.0.113.7", hops=0) == PEER
    assert address_of(b"garbage", b"", hops=0) == PEER


@pytest.mark.parametrize(
    ("hops", "expected"), [(1, "198.51.100.3"), (2, "198.51.100.2"), (3, "203.0.113.1")]
)
def test_hops_are_counted_from_the_right(hops: int, expected: str) -> None:
    assert address_of(b"203.0.113.1, 198.51.100.2, 198.51.100.3", hops=hops) == expected


@pytest.mark.parametrize(
    ("hops", "expected"),
    [(1, "192.0.2.4"), (2, "192.0.2.3"), (3, "192.0.2.2"), (4, "192.0.2.1"), (5, None)],
)
def test_several_headers_count_as_one_in_the_order_they_came(
    hops: int, expected: str | None
) -> None:
    assert address_of(b"192.0.2.1,192.0.2.2", b"192.0.2.3", b"192.0.2.4", hops=hops) == expected


def test_what_the_client_put_on_the_left_does_not_matter() -> None:
    spoofed = [b"10.1.1.1, 10.1.1.1", b"10.1.1.1,,;garbage", b"203.0.113.7"]
    assert address_of(*spoofed, hops=1) == "203.0.113.7"


@pytest.mark.parametrize("hops", [2, 3, 16])
def test_fewer_entries_than_hops_tell_no_address(hops: int) -> None:
    assert address_of(b"203.0.113.7", hops=hops) is None


@pytest.mark.parametrize(
    "entry",
    [
        b"garbage", b"unknown", b"_hidden", b" ", b"\t", b"203.0.113.7:1234", b"[2001:db8::1]",
        b"203.0.113", b"203.0.113.256", b"0203.0.113.7", b"203.0.113.7/32", b"\x00", b"\xff\xfe",
        b"203.0.113.7\x00", b"1" * 10_000,
    ],
)  # fmt: skip
def test_an_entry_that_is_no_address_tells_none(entry: bytes) -> None:
    assert address_of(entry, hops=1) is None
    assert address_of(b"203.0.113.7," + entry, hops=1) is None


def test_a_header_that_is_present_but_empty_has_no_address_in_its_place() -> None:
    assert address_of(b"", hops=1) is None
    assert address_of(b"", hops=2) is None


def test_an_empty_entry_counts_as_an_entry() -> None:
    assert address_of(b"203.0.113.7,", hops=1) is None
    assert address_of(b"203.0.113.7,", hops=2) == "203.0.113.7"
    assert address_of(b"203.0.113.7", b"", hops=2) == "203.0.113.7"


@pytest.mark.parametrize("mapped", [b"::ffff:203.0.113.7", b"::FFFF:cb00:7107"])
def test_a_mapped_v4_address_is_the_v4_address(mapped: bytes) -> None:
    assert address_of(mapped, hops=1) == "203.0.113.7"
    assert client_address(mapped.decode(), [], 0) == ip_address("203.0.113.7")


def test_a_v6_address_stays_one() -> None:
    assert address_of(b"2001:DB8:0::1", hops=1) == "2001:db8::1"
    assert address_of(hops=0, peer="2001:db8::2") == "2001:db8::2"


@pytest.mark.parametrize("peer", [None, "", "unix:", "localhost", "/run/socket"])
def test_a_peer_without_an_address_tells_none(peer: str | None) -> None:
    assert address_of(hops=0, peer=peer) is None
    assert address_of(b"203.0.113.7", hops=1, peer=peer) == "203.0.113.7"
