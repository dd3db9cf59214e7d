"""What is written to NATS: the same data as to Redis, subjects that tell ids apart, any chunks."""

import asyncio
import json
from unittest.mock import Mock

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.brokers.data import data_of
from adapters.outbound.nats_jetstream import entries, messages
from adapters.outbound.nats_jetstream.layout import Layout, stream_of
from adapters.outbound.nats_jetstream.protocol import NatsProtocol, Reply, Request
from application.ports.reader import PublishedEntry
from application.store_kit.storing import entries_of
from application.testing import strategies
from application.testing.appends import as_published, as_stored, stream
from domain.entries import Entry
from domain.identifiers import StreamKey
from domain.media import AudioFrame
from examples import examples


@given(strategies.entries)
def test_data_is_the_same_json_as_in_redis(entry: Entry) -> None:
    """In Redis it is what `data_of` makes: see `test_stored_values`."""
    if not isinstance(entry, AudioFrame):
        kind, expected = data_of(entry)
        row, data = entries.written(PublishedEntry(1, 2, entry))
        assert data == expected
        assert json.loads(row) == {"id": "1-2", "type": kind, "bytes": len(data)}


@given(st.data())
def test_a_message_holds_the_entries_and_the_head(data: st.DataObject) -> None:
    append = data.draw(strategies.appends(stream("call")))
    is_announced, payload = messages.write(append)
    message = messages.Message.read(1, payload)
    found = [(it.generation, it.position, as_published(it.entry)) for it in message.entries()]
    assert found == [
        (it.generation, it.position, as_published(it.entry)) for it in entries_of(append)
    ]
    assert as_stored(message.head()) == as_stored(append.head)
    assert is_announced


@given(strategies.streams, strategies.streams)
def test_subjects_tell_streams_apart_and_are_read_back(one: StreamKey, other: StreamKey) -> None:
    layout = Layout("a.b")
    for subject in (layout.batch(one), layout.index(one), layout.heartbeat(one)):
        assert stream_of(subject) == one
        assert not set(subject) & set(" *>\r\n\t")
        assert "" not in subject.split(".")
    assert (layout.batch(one) == layout.batch(other)) == (one == other)


replies = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=60)), min_size=1, max_size=6)


@settings(max_examples=examples(200))
@given(replies, st.lists(st.integers(1, 40), max_size=40))
def test_replies_are_read_from_chunks_of_any_size(
    told: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    async def read() -> None:
        protocol = NatsProtocol()
        protocol.connection_made(Mock(spec=asyncio.Transport))
        protocol.max_payload = 1_000
        of = protocol.send([Request("a")] * len(told))
        inbox, data, expected = protocol._inbox, b"INFO {}\r\nPING\r\n", []
        for number, (kind, payload) in enumerate(told, 1):
            at = b"%b.%d" % (inbox, number)
            heads = {1: b"NATS/1.0\r\nA: b\r\n\r\n", 2: b"NATS/1.0 503\r\n\r\n"}
            head = heads.get(kind, b"")
            whole = head + payload
            if head:
                data += b"HMSG %b 1 %d %d\r\n" % (at, len(head), len(whole))
            else:
                data += b"MSG %b 1 %d\r\n" % (at, len(whole))
            data += whole + b"\r\n+OK\r\n"
            expected.append(Reply(503 if kind == 2 else 0, head, payload))
        while data:
            size = sizes.pop() if sizes else len(data)
            protocol.data_received(data[:size])
            data = data[size:]
        assert of.done.done()
        assert of.replies == expected
        protocol.abort(ConnectionError("over"))

    asyncio.run(read())
