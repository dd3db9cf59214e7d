"""A handshake as it came, read once."""

from typing import Any

import pytest

from adapters.inbound.handshake import Handshake

SECRET = b"Bearer abc.def.ghi"


def handshake(**named: Any) -> Handshake:
    scope = {
        "path": "/v1/ingest",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
        "client": ("203.0.113.7", 50_000),
    }
    return Handshake.of({**scope, **named})


def test_a_header_has_the_values_of_all_its_lines_in_their_order() -> None:
    lines = [
        (b"X-Forwarded-For", b"a, b"), (b"authorization", SECRET), (b"x-forwarded-for", b"c"),
    ]  # fmt: skip
    found = handshake(headers=lines)
    assert found.header("x-forwarded-for") == (b"a, b", b"c")
    assert found.header("authorization") == (SECRET,)
    assert found.header("x-none") == ()


def test_of_a_parameter_that_comes_again_the_last_counts() -> None:
    found = handshake(query_string=b"sample-rate=8000&tenant=a%20b&sample-rate=16000&empty=")
    assert found.query == {"sample-rate": "16000", "tenant": "a b"}
    assert handshake(query_string=b"\xff=%ff").query == {"\xff": "\N{REPLACEMENT CHARACTER}"}


def test_the_peer_and_what_it_offers_are_told() -> None:
    found = handshake(subprotocols=["b", "a"])
    assert (found.peer, found.path, found.subprotocols) == ("203.0.113.7", "/v1/ingest", ("b", "a"))
    assert handshake(client=None).peer is None


def test_it_cannot_be_changed() -> None:
    found: Any = handshake(query_string=b"a=1", headers=[(b"host", b"x")])
    with pytest.raises(TypeError):
        found.query["a"] = "2"
    with pytest.raises(TypeError):
        found.headers["host"] = ()
    with pytest.raises(AttributeError):
        found.path = "/"


def test_its_text_shows_neither_headers_nor_query() -> None:
    found = handshake(query_string=b"token=abc", headers=[(b"authorization", SECRET)])
    assert "abc" not in repr(found)
    assert "abc" not in f"{found}"
