"""What is published can be read back: add_entry, the fields append.lua makes of it, EntryReader."""

import json
from datetime import datetime

import hiredis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.outbound.redis_streams.layout import (
    EntryReader,
    add_entry,
    facts_key,
    ledger_json,
    opening_json,
    read_account,
    stream_key,
)
from adapters.outbound.redis_streams.resp import begin_parts, pack_arguments
from application.ports.errors import BrokerRefused
from domain.account import Account, State
from domain.events import (
    ANEW,
    AudioAccepted,
    CallDetails,
    EndReason,
    Event,
    GapDetected,
    GoOn,
    InteractionEnded,
    InteractionStarted,
    Opening,
    Signal,
    SignalReceived,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import SAMPLE_RATES_HZ, AudioFrame, Encoding, MediaFormat

COUNTS = st.integers(0, 2**53 - 1)
SMALL = st.integers(0, 10**6)
NAMES = st.from_regex(r"[A-Za-z0-9._~@+=-]{1,128}", fullmatch=True).filter(
    lambda name: name not in {".", ".."}
)
MEDIA = st.builds(
    MediaFormat, st.sampled_from(sorted(SAMPLE_RATES_HZ)), st.sampled_from(list(Encoding))
)
LEDGERS = st.builds(
    lambda published, duplicate, rejected, lost, unheard, size, ms: Ledger(
        published + duplicate + rejected + lost,
        published,
        duplicate,
        rejected,
        lost,
        lost + unheard,
        size,
        ms,
    ),
    *[st.integers(0, 2**50)] * 7,
)
CALLS = st.builds(
    CallDetails,
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20),
    st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4),
)
OPENINGS = st.builds(
    Opening,
    stream=st.builds(StreamKey, NAMES.map(TenantId), NAMES.map(StreamId)),
    interaction_id=NAMES.map(InteractionId),
    dialect=st.sampled_from(["exostreamkit", "agentstream"]),
    media=MEDIA,
    started_at_ms=st.integers(0, 4_102_444_800_000),  # the year 2100
    continuation=st.sampled_from([ANEW, GoOn()]),
    call=CALLS,
)
OBJECTS = st.dictionaries(st.text(max_size=9), st.text(max_size=9)).map(json.dumps)
STARTS = st.tuples(SMALL, st.integers(1, 2**53 - 1), OPENINGS, st.text("0123456789abcdef")).map(
    lambda drawn: InteractionStarted(*drawn[:2], drawn[2].continuation == GoOn(), *drawn[2:])
)


def frames(media: MediaFormat) -> st.SearchStrategy[AudioFrame]:
    audio = st.binary(min_size=1, max_size=40).map(lambda data: data * media.sample_width)
    return st.builds(AudioFrame, st.just(media), COUNTS, st.integers(0, 2**53 - 1), audio)


def events(media: MediaFormat) -> st.SearchStrategy[Event]:
    return st.one_of(
        st.builds(AudioAccepted, SMALL, frames(media)),
        st.builds(GapDetected, SMALL, COUNTS, COUNTS),
        st.builds(SignalReceived, SMALL, st.sampled_from(Signal), OBJECTS),
        st.builds(
            InteractionEnded, SMALL, st.sampled_from(list(EndReason)), LEDGERS, st.booleans()
        ),
    )


def stored(event: Event, generation: int) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the entry that the scripts write for an event, all fields as bytes."""
    entry_id = f"{generation}-{event.position}".encode()
    if isinstance(event, InteractionStarted):
        rest = b',"generation":%d,"run":"%s","resumed":%s}' % (
            event.generation,
            event.run.encode(),
            str(event.resumed).lower().encode(),
        )
        return entry_id, {b"type": b"started", b"data": opening_json(event.opening) + rest}
    kind, seq, received_at_ms, data = written(event)
    if kind == b"audio":
        return entry_id, {
            b"type": b"audio",
            b"seq": seq,
            b"received_at_ms": received_at_ms,
            b"audio": data,
        }
    assert (seq, received_at_ms) == (b"", b"")
    return entry_id, {b"type": kind, b"data": data}


def written(event: Event) -> list[bytes]:
    """Return the arguments of an entry as the broker reads them."""
    parts = begin_parts(6, pack_arguments(("EVALSHA", 2**40)))
    add_entry(parts, event)
    reader = hiredis.Reader()
    reader.feed(b"".join(parts))
    head, number, *arguments = reader.gets()
    assert (head, number) == (b"EVALSHA", b"%d" % 2**40)
    assert reader.gets() is False
    return list(arguments)


@settings(deadline=None, max_examples=200)
@given(STARTS, st.data())
def test_any_legal_stream_is_read_back_as_it_was_written(
    started: InteractionStarted, data: st.DataObject
) -> None:
    reader = EntryReader(None)
    written = [started, *data.draw(st.lists(events(started.opening.media), max_size=5))]
    for event in written:
        generation, found = reader.read(*stored(event, started.generation))
        assert (generation, found) == (started.generation, event)
        if isinstance(event, InteractionStarted) and isinstance(found, InteractionStarted):
            assert found.run == event.run


@settings(deadline=None, max_examples=100)
@given(STARTS, st.data())
def test_audio_is_read_without_its_start_where_retention_has_forgotten_it(
    started: InteractionStarted, data: st.DataObject
) -> None:
    reader = EntryReader(stored(started, 1)[1][b"data"])
    event = data.draw(events(started.opening.media))
    assert reader.read(*stored(event, 7)) == (7, event)


@settings(deadline=None, max_examples=200)
@given(STARTS)
def test_a_start_is_published_in_the_words_of_the_contract(started: InteractionStarted) -> None:
    _, fields = stored(started, started.generation)
    opening = started.opening
    published = json.loads(fields[b"data"])
    began_at = datetime.fromisoformat(published.pop("started_at"))
    assert round(began_at.timestamp() * 1_000) == opening.started_at_ms
    assert published == {
        "tenant_id": opening.stream.tenant_id,
        "interaction_id": opening.interaction_id,
        "stream_id": opening.stream.stream_id,
        "track": None,
        "run": started.run,
        "dialect": opening.dialect,
        "generation": started.generation,
        "resumed": started.resumed,
        "sample_rate": opening.media.sample_rate,
        "encoding": opening.media.encoding.value,
        "channels": 1,
        "call_sid": opening.call.call_sid,
        "from": opening.call.caller,
        "to": opening.call.callee,
        "custom_parameters": opening.call.custom_parameters,
    }


@settings(deadline=None, max_examples=200)
@given(events(MediaFormat(8_000)))
def test_an_entry_is_published_in_the_words_of_the_contract(event: Event) -> None:
    _, fields = stored(event, 1)
    if isinstance(event, AudioAccepted):
        assert fields == {
            b"type": b"audio",
            b"seq": b"%d" % event.frame.seq,
            b"received_at_ms": b"%d" % event.frame.received_at_ms,
            b"audio": event.frame.audio,
        }
        return
    data = json.loads(fields[b"data"])
    if isinstance(event, GapDetected):
        assert data == {"first_missing": event.first_missing, "missing": event.missing}
    elif isinstance(event, SignalReceived):
        assert fields[b"type"] in (b"dtmf", b"mark")
        assert data == json.loads(event.details)
    else:
        assert isinstance(event, InteractionEnded)
        expected = {"reason": event.reason.value, "ledger": event.ledger.counters()}
        assert data == ({**expected, "recovered": True} if event.recovered else expected)


@settings(deadline=None, max_examples=200)
@given(
    COUNTS,
    st.none() | COUNTS,
    st.none() | COUNTS,
    LEDGERS,
    st.sampled_from([State.LIVE, State.CUT, State.ENDED]),
)
def test_an_account_is_read_from_the_hash_as_it_was_written(
    position: int, first_seq: int | None, last_seq: int | None, ledger: Ledger, state: State
) -> None:
    def field(seq: int | None) -> bytes | None:
        return None if seq is None else b"%d" % seq

    account = read_account(
        b"%d" % position,
        field(first_seq),
        field(last_seq),
        ledger_json(ledger),
        state.value.encode(),
    )
    assert account == Account(position, first_seq, last_seq, ledger, state)


def test_a_hash_without_an_account_is_an_account_of_nothing() -> None:
    assert read_account(None, None, None, None) == Account()
    assert read_account(b"", b"", b"", b"") == Account()


@settings(deadline=None, max_examples=200)
@given(NAMES, NAMES)
def test_both_keys_of_a_stream_are_those_of_the_contract(tenant: str, stream: str) -> None:
    key = StreamKey(TenantId(tenant), StreamId(stream))
    assert stream_key("rtaa", key) == "rtaa:audio:{" + tenant + "/" + stream + "}"
    assert facts_key("rtaa", key) == "rtaa:interaction:{" + tenant + "/" + stream + "}"


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
FIELDS = st.dictionaries(
    st.sampled_from([b"type", b"data", b"seq", b"received_at_ms", b"audio"]), ODD
)
OURS = b'{"tenant_id":"t","interaction_id":"i","stream_id":"s","dialect":"d","sample_rate":8000,'
OURS += b'"encoding":"pcm16","channels":1,"call_sid":null,"from":null,"to":null,'
OURS += b'"custom_parameters":{},"started_at":"2026-01-01T00:00:00.000Z","generation":1,'
OURS += b'"run":"r","resumed":false}'
SEQ = {b"type": b"audio", b"received_at_ms": b"1"}


@settings(deadline=None, max_examples=500)
@given(
    st.one_of(st.just(b"1-1"), st.binary(max_size=6), st.sampled_from([b"1", b"1-2-3", b"a-b"])),
    FIELDS,
    st.booleans(),
)
@example(b"1-1", {**SEQ, b"seq": b"1", b"audio": b"\0"}, True)
@example(b"1-1", {**SEQ, b"seq": b"1", b"audio": b""}, True)
@example(b"1-1", {**SEQ, b"seq": b"-1", b"audio": b"\0\0"}, True)
@example(b"1-1", {b"type": b"gap", b"data": b"[]"}, True)
@example(b"1-1", {b"type": b"ended", b"data": b'{"reason":"ended","ledger":{"lost":1}}'}, True)
@example(b"1-1", {b"type": b"started", b"data": OURS.replace(b'"t"', b'"a b"')}, False)
@example(b"1-1", {b"type": b"started", b"data": OURS.replace(b"8000", b"8001")}, False)
def test_an_entry_that_is_not_one_of_ours_is_refused(
    entry_id: bytes, fields: dict[bytes, bytes], begun: bool
) -> None:
    reader = EntryReader(OURS if begun else None)
    try:
        generation, event = reader.read(entry_id, fields)
    except BrokerRefused:
        return
    assert isinstance(generation, int)
    assert isinstance(event, Event)


def test_a_start_is_never_appended() -> None:
    stream = StreamKey(TenantId("t"), StreamId("s"))
    opening = Opening(stream, InteractionId("i"), "d", MediaFormat(8_000), 0)
    with pytest.raises(TypeError):
        written(InteractionStarted(0, 1, resumed=False, opening=opening))
