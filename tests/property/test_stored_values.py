"""Any legal head and any legal entries are read from a real broker as they were appended."""

import asyncio
import json
from dataclasses import fields
from itertools import count
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from store_oracle import ODD_BYTES, Writer, as_read, placed

from adapters.brokers.data import data_of
from adapters.outbound.redis_streams.announcements import Notice
from adapters.outbound.redis_streams.append_calls import AppendCalls
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.entries import EntryReader
from adapters.outbound.redis_streams.layout import facts_key, stream_key
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused
from application.ports.store import APPENDED, Append, Mark
from application.testing.strategies import traceparents
from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import NEW_RUN, CallDetails, EndReason, Opening, Resume, ResumeAbove, Signal
from domain.fold import Segment
from domain.head import Access, Head, Lease, Run
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import SAMPLE_RATES_HZ, AudioFrame, Encoding, MediaFormat
from examples import examples

PREFIX = "values"

_names = count(1)

COUNTS = st.integers(0, 2**53 - 1)
NAMES = st.from_regex(r"[A-Za-z0-9._~@+=-]{1,128}", fullmatch=True).filter(
    lambda name: name not in {".", ".."}
)
TOKENS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
MEDIA = st.builds(
    MediaFormat, st.sampled_from(sorted(SAMPLE_RATES_HZ)), st.sampled_from(list(Encoding))
)
LEDGERS = st.builds(
    lambda published, duplicate, rejected, lost, *others: Ledger(
        published + duplicate + rejected + lost, published, duplicate, rejected, lost, *others
    ),
    *[st.integers(0, 2**50)] * 7,
)
OPENING_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.builds(StreamKey, NAMES.map(TenantId), NAMES.map(StreamId)),
    "interaction_id": NAMES.map(InteractionId),
    "dialect": st.sampled_from(["exostreamkit", "agentstream"]),
    "media": MEDIA,
    "started_at_ms": st.integers(0, 253_402_300_799_999),  # the year 9999
    "continuation": st.sampled_from([NEW_RUN, Resume(), ResumeAbove()])
    | st.builds(ResumeAbove, COUNTS),
    "call": st.builds(
        CallDetails,
        st.none() | st.text(max_size=20),
        st.none() | st.text(max_size=20),
        st.none() | st.text(max_size=20),
        st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4),
    ),
    "track": st.text(max_size=20),
    "traceparent": st.none() | traceparents,
}
OPENINGS = st.builds(Opening, **OPENING_FIELDS)
OBJECTS = st.dictionaries(st.text(max_size=9), st.text(max_size=9)).map(
    lambda drawn: json.dumps(drawn, ensure_ascii=False)
)
GENERATIONS = st.integers(1, 2**53 - 1)


def frames(media: MediaFormat) -> st.SearchStrategy[AudioFrame]:
    audio = st.one_of(
        st.binary(min_size=1, max_size=40), st.sampled_from([ODD_BYTES, b"\r\n", b"\0", b"$-1\r\n"])
    ).map(lambda data: data * media.sample_width)
    return st.builds(AudioFrame, st.just(media), COUNTS, COUNTS, audio)


def others(media: MediaFormat) -> st.SearchStrategy[Entry]:
    return st.one_of(
        frames(media),
        st.builds(Gap, COUNTS, COUNTS),
        st.builds(SignalNoted, st.sampled_from(Signal), OBJECTS),
        st.builds(Ended, st.sampled_from(list(EndReason)), LEDGERS, st.booleans()),
    )


@st.composite
def appends(draw: st.DrawFn) -> Append:
    """Draw an append of one generation to a stream that is not there."""
    opening = draw(OPENINGS)
    run = Run(draw(TOKENS), opening, draw(st.sampled_from(list(Access))))
    lease = Lease(draw(GENERATIONS), draw(TOKENS), draw(COUNTS))
    started = Started(lease.generation, run.name, draw(st.booleans()), opening)
    entries = [started, *draw(st.lists(others(opening.media), max_size=6))]
    first = draw(st.integers(0, 2**52))
    account = Account(
        first + len(entries),
        draw(st.none() | COUNTS),
        draw(st.none() | COUNTS),
        draw(LEDGERS),
        draw(st.sampled_from([State.LIVE, State.CUT, State.ENDED])),
    )
    head = Head(draw(TOKENS), lease, draw(COUNTS), run, account, draw(COUNTS))
    segment = Segment(run, lease.generation, entries, account)
    return Append(opening.stream, None, (segment,), head)


def test_every_field_of_an_opening_is_drawn() -> None:
    assert {field.name for field in fields(Opening)} == OPENING_FIELDS.keys()


@settings(deadline=None, max_examples=examples(200))
@given(appends())
def test_a_head_and_its_entries_are_read_as_they_were_appended(
    valkey: EmbeddedValkey, append: Append
) -> None:
    async def run() -> None:
        prefix = f"{PREFIX}-{next(_names)}"
        destination = RedisDestination(DestinationOptions(prefix=prefix), valkey.url)
        async with Redis.from_url(valkey.url) as client:
            try:
                assert await destination.store.append([append]) == [APPENDED]
                (head,) = (await destination.store.heads([append.stream])).heads
                assert head == append.head
                key = stream_key(prefix, append.stream)
                found: Any = await client.xrange(key)
                reader = EntryReader(None)
                assert [reader.read(*it) for it in found] == placed(append)
                started: Any = await client.hget(facts_key(prefix, append.stream), "started")
                assert started == found[0][1][b"data"]
                late = EntryReader(started)
                assert [late.read(*it) for it in found[1:]] == placed(append)[1:]
            finally:
                await destination.close()

    asyncio.run(run())


@settings(deadline=None, max_examples=examples(200))
@given(OPENINGS, GENERATIONS, TOKENS, st.booleans())
def test_a_start_is_published_in_the_words_of_the_contract(
    opening: Opening, generation: int, run: str, resumed: bool
) -> None:
    kind, data = data_of(Started(generation, run, resumed, opening))
    assert kind == "started"
    published = json.loads(data)
    assert published.pop("started_at").endswith("Z")
    assert published == {
        "tenant_id": opening.stream.tenant_id,
        "interaction_id": opening.interaction_id,
        "stream_id": opening.stream.stream_id,
        "track": opening.track,
        "run": run,
        "dialect": opening.dialect,
        "generation": generation,
        "resumed": resumed,
        "sample_rate": opening.media.sample_rate,
        "encoding": opening.media.encoding.value,
        "channels": 1,
        "call_sid": opening.call.call_sid,
        "from": opening.call.caller,
        "to": opening.call.callee,
        "custom_parameters": opening.call.custom_parameters,
        **({} if opening.traceparent is None else {"traceparent": str(opening.traceparent)}),
    }


@settings(deadline=None, max_examples=examples(200))
@given(others(MediaFormat(8_000)).filter(lambda entry: not isinstance(entry, AudioFrame)))
def test_an_entry_is_published_in_the_words_of_the_contract(entry: Entry) -> None:
    kind, written = data_of(entry)
    data = json.loads(written)
    match entry:
        case Gap(first_missing, missing):
            assert kind == "gap"
            assert data == {"first_missing": first_missing, "missing": missing}
        case SignalNoted(signal, details):
            assert kind == signal.value
            assert data == json.loads(details)
        case Ended(reason, ledger, recovered):
            assert kind == "ended"
            expected = {"reason": reason.value, "ledger": ledger.counters()}
            assert data == ({**expected, "recovered": True} if recovered else expected)


def test_audio_has_no_data() -> None:
    with pytest.raises(TypeError):
        data_of(AudioFrame(MediaFormat(8_000), 0, 0, b"\0\0"))


@settings(deadline=None, max_examples=examples(200))
@given(
    st.builds(StreamKey, NAMES.map(TenantId), NAMES.map(StreamId)),
    st.lists(
        st.tuples(NAMES.map(InteractionId), COUNTS, COUNTS, st.booleans(), TOKENS, st.booleans()),
        unique_by=lambda drawn: drawn[2],
        max_size=4,
    ),
)
def test_a_mark_tells_all_that_is_to_be_announced(
    stream: StreamKey, drawn: list[tuple[InteractionId, int, int, bool, str, bool]]
) -> None:
    notices = sorted((Notice(stream, *it) for it in drawn), key=lambda one: one.position)
    marks = {one.mark.encode(): one.mark_value.encode() for one in notices}
    assert Notice.marked(stream, {**marks, b"revision": b"1", b"run": b"x"}) == notices


ODD = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"audio", b"started", b"gap", b"ended", b"", b"-1", b"1.5", b"1e3", b"x", b"{}", b"[]",
         b"null", b"1", b'"x"', b'{"first_missing":1}', b'{"reason":"ended","ledger":{}}',
         b'{"reason":"ended","ledger":{"x":1}}', b'{"reason":"ended","ledger":{"lost":1}}',
         b'{"reason":"ended","ledger":[]}', b'{"reason":1,"ledger":{}}', b"\xff",
         b'{"first_missing":"x","missing":[]}', b"9" * 5_000, b"[" * 100_000, b"\0\0\0"]
    ),
)  # fmt: skip


@settings(deadline=None, max_examples=examples(500))
@given(
    st.one_of(st.just(b"1-1"), st.binary(max_size=6), st.sampled_from([b"1", b"1-2-3", b"a-b"])),
    st.dictionaries(st.sampled_from([b"type", b"data", b"seq", b"received_at_ms", b"audio"]), ODD),
)
def test_an_entry_that_is_not_one_of_ours_is_refused(
    entry_id: bytes, found: dict[bytes, bytes]
) -> None:
    opening = Opening(
        StreamKey(TenantId("t"), StreamId("s")), InteractionId("i"), "d", MediaFormat(8_000), 0
    )
    reader = EntryReader(data_of(Started(1, "run", resumed=False, opening=opening))[1])
    try:
        mark, entry = reader.read(entry_id, found)
    except BrokerRefused:
        return
    assert isinstance(mark, Mark)
    assert isinstance(entry, Entry)
    assert as_read(entry) == entry


def test_what_is_sent_is_one_command() -> None:
    """However odd the bytes are: the broker reads as many arguments as were meant."""
    writer = Writer()
    begun = writer.start("call")
    spoken = writer.speak(begun.head, 3, size=1_000)
    calls = AppendCalls("rtaa", 1_000)
    for append, arguments in ((begun, 15 + 2 * 10 + 4), (spoken, 15 + 2 * 9 + 12)):
        call, _ = calls.write(append)
        reader = hiredis.Reader()
        reader.feed(b"".join(call))
        assert len(reader.gets()) == arguments
        assert reader.gets() is False
    again = writer.speak(spoken.head)
    call, _ = calls.write(again)
    reader = hiredis.Reader()
    reader.feed(b"".join(call))
    assert len(reader.gets()) == 15 + 4
