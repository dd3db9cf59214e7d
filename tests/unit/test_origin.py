from ipaddress import ip_address

import pytest

from adapters.inbound.reporting.origin import Origin

PEER = "10.0.0.9"


def address_of(*forwarded_for: bytes, hops: int, peer: str | None = PEER) -> str | None:
    address = Origin.of(peer, forwarded_for, hops).address
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
        b"garbage", b"unknown", b"_hidden", b" ", b"\t", b"[203.0.113.7]", b"[2001:db8::1",
        b"203.0.113.7:",
        b"203.0.113.7:x", b"[2001:db8::1]:x", b"[2001:db8::1]x", b"[]", b":443",
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
    assert Origin.of(mapped.decode(), [], 0).address == ip_address("203.0.113.7")


def test_a_v6_address_stays_one() -> None:
    assert address_of(b"2001:DB8:0::1", hops=1) == "2001:db8::1"
    assert address_of(hops=0, peer="2001:db8::2") == "2001:db8::2"


@pytest.mark.parametrize("peer", [None, "", "unix:", "localhost", "/run/socket"])
def test_a_peer_without_an_address_tells_none(peer: str | None) -> None:
    assert address_of(hops=0, peer=peer) is None
    assert address_of(b"203.0.113.7", hops=1, peer=peer) == "203.0.113.7"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        (b"203.0.113.7:51213", "203.0.113.7"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b" [2001:db8::1]:443 ", "2001:db8::1"),
        (b"[::ffff:203.0.113.7]:443", "203.0.113.7"),
    ],
)
def test_an_entry_may_carry_a_port_or_brackets(entry: bytes, address: str) -> None:
    assert address_of(b"6.6.6.6, " + entry, hops=1) == address
    assert address_of(hops=1, peer=entry.decode()) is None, "a socket's peer has neither"


def test_hops_that_are_too_few_or_too_many_give_lines_that_differ() -> None:
    chain = [b"198.51.100.2, 10.1.1.1"]
    lines = [Origin.of(PEER, chain, hops).context() for hops in (0, 1, 2, 3)]
    assert lines == [
        {
            "peer": PEER,
            "address": PEER,
            "forwarded_entries": 2,
            "trusted_proxy_hops": 0,
        },
        {
            "peer": PEER,
            "address": "10.1.1.1",
            "forwarded_entries": 2,
            "trusted_proxy_hops": 1,
            "forwarded_entry": "10.1.1.1",
        },
        {
            "peer": PEER,
            "address": "198.51.100.2",
            "forwarded_entries": 2,
            "trusted_proxy_hops": 2,
            "forwarded_entry": "198.51.100.2",
        },
        {
            "peer": PEER,
            "address": None,
            "forwarded_entries": 2,
            "trusted_proxy_hops": 3,
            "forwarded_entry": None,
        },
    ]


def test_an_origin_that_nothing_was_forwarded_of_is_two_addresses() -> None:
    assert Origin.of(PEER, [], 0).context() == {"peer": PEER, "address": PEER}


def test_that_proxies_are_trusted_and_nothing_was_forwarded_is_shown() -> None:
    assert Origin.of(PEER, [], 2).context() == {
        "peer": PEER,
        "address": PEER,
        "forwarded_entries": 0,
        "trusted_proxy_hops": 2,
    }


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "hops", "reading"),
    [
        (PEER, [], 0, ""),
        (PEER, [b"198.51.100.2"], 1, ""),
        (PEER, [], 2, "no X-Forwarded-For came, TRUSTED_PROXY_HOPS is 2, so it is the peer's own"),
        (PEER, [b"198.51.100.2"], 0, "TRUSTED_PROXY_HOPS is 0, so it is the peer's own"),
        (PEER, [b"198.51.100.2"], 3, "X-Forwarded-For has 1 of 3 entries"),
        (PEER, [b"secret"], 1, "the entry of X-Forwarded-For in that place is no address"),
        (None, [], 0, "the connection has none"),
    ],
)
def test_how_an_address_was_read_is_told(
    peer: str | None, forwarded_for: list[bytes], hops: int, reading: str
) -> None:
    told = Origin.of(peer, forwarded_for, hops).reading
    assert told.endswith(reading)
    assert bool(told) is bool(reading)
    assert "secret" not in told


def test_a_peer_that_came_to_a_socket_of_both_families_is_told_by_its_v4_address() -> None:
    origin = Origin.of("::ffff:10.0.0.9", [], 0)
    assert origin.context() == {"peer": PEER, "address": PEER}


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        (b"unknown", 7),
        (b" Bearer SECRETTOKEN", 18),
        (b"+919999900001", 13),
        (b"a b\r\n\x00\xff\x1b[31m", 12),
        (b'for="secret=1"', 14),
        (b"1" * 10_000, 10_000),
        (b"", 0),
    ],
)
def test_of_an_entry_that_is_no_address_the_length_is_shown(entry: bytes, length: int) -> None:
    context = Origin.of(PEER, [entry], 1).context()
    assert (context["forwarded_entry"], context["forwarded_entry_length"]) == (None, length)


@pytest.mark.parametrize("entry", [b"fe80::1%SECRET", b"[fe80::1%SECRET]:443"])
def test_the_zone_of_an_entry_is_not_shown(entry: bytes) -> None:
    context = Origin.of(PEER, [entry], 1).context()
    assert (context["address"], context["forwarded_entry"]) == ("fe80::1", "fe80::1")


@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize("entries", [0, 1, 2])
def test_proxies_are_miscounted_if_just_one_of_header_and_hops_is_there(
    hops: int, entries: int
) -> None:
    origin = Origin.of(PEER, [b"203.0.113.7"] * entries, hops)
    assert origin.bypassed_proxies == (hops > 0 and entries == 0)
    assert origin.is_forwarded_unread == (hops == 0 and entries > 0)
