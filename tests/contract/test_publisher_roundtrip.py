"""Any legal event survives the way to every destination and back."""

import asyncio
from itertools import count

import pytest
from bench import begin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from application.ports.destination import Destination, DestinationOptions
from application.ports.publisher import Appended, Batch, Lease
from domain.account import Account, State
from domain.events import (
    AudioAccepted,
    CallDetails,
    EndReason,
    Event,
    GapDetected,
    InteractionEnded,
    InteractionStarted,
    Opening,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import SAMPLE_RATES_HZ, AudioFrame, Encoding, MediaFormat
from domain.sequence import MAX_SEQ
from entrypoints.registry import destination_adapters

_streams = count()

names = st.text("abcXYZ0189._~@+=-", min_size=3, max_size=128)
texts = st.text(max_size=40)
seqs = st.integers(0, MAX_SEQ)
counts = st.integers(0, 2**50)


@st.composite
def openings(draw: st.DrawFn) -> Opening:
    return Opening(
        stream=StreamKey(TenantId(draw(names)), StreamId(f"s{next(_streams)}")),
        interaction_id=InteractionId(draw(names)),
        dialect=draw(st.sampled_from(("exostreamkit", "agentstream"))),
        media=MediaFormat(
            draw(st.sampled_from(sorted(SAMPLE_RATES_HZ))), draw(st.sampled_from(Encoding))
        ),
        started_at_ms=draw(st.integers(0, 4 * 10**12)),
        call=CallDetails(
            draw(st.none() | texts),
            draw(st.none() | texts),
            draw(st.none() | texts),
            draw(st.dictionaries(texts, texts, max_size=3)),
        ),
    )


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    published, duplicate, rejected, lost = (draw(counts) for _ in range(4))
    return Ledger(
        published + duplicate + rejected + lost,
        published,
        duplicate,
        rejected,
        lost,
        lost + draw(counts),
        draw(counts),
        draw(counts),
    )


@st.composite
def bodies(draw: st.DrawFn, media: MediaFormat) -> tuple[Event, ...]:
    """Events of positions 1, 2, … as legal as they are meaningless."""
    events: list[Event] = []
    for position in range(1, draw(st.integers(2, 6))):
        if draw(st.booleans()):
            audio = draw(st.binary(min_size=1, max_size=300)) * media.sample_width
            events.append(
                AudioAccepted(position, AudioFrame(media, draw(seqs), draw(counts), audio))
            )
        else:
            events.append(GapDetected(position, draw(seqs), draw(counts)))
    reason, recovered = draw(st.sampled_from(EndReason)), draw(st.booleans())
    events.append(InteractionEnded(len(events) + 1, reason, draw(ledgers()), recovered))
    return tuple(events)


async def send_and_read(
    destination: Destination, opening: Opening, events: tuple[Event, ...], account: Account
) -> list[Event]:
    grant = await begin(destination.publisher, opening, owner="owner", has_token=False)
    lease = Lease(opening.stream, grant.generation, "owner")
    batch = Batch(lease, opening.interaction_id, 1, events, account)
    assert list(await destination.publisher.append([batch])) == [Appended(len(events) + 1)]
    facts = await destination.reader.facts(opening.stream)
    assert facts is not None
    assert facts.account == account
    return [published.event async for published in destination.reader.read(opening.stream)]


@pytest.mark.parametrize("name", sorted(destination_adapters()))
def test_any_legal_event_survives_the_round_trip(name: str) -> None:
    adapter = destination_adapters()[name]
    with asyncio.Runner() as runner:
        trial = adapter.trial()
        plugged = runner.run(trial.__aenter__())
        destination = adapter.connect(DestinationOptions(prefix="trip"), plugged.environment)

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(data=st.data(), opening=openings())
        def check(data: st.DataObject, opening: Opening) -> None:
            events = data.draw(bodies(opening.media))
            account = Account(
                len(events) + 1,
                data.draw(st.none() | seqs),
                data.draw(st.none() | seqs),
                data.draw(ledgers()),
                State.ENDED,
            )
            started = InteractionStarted(0, 1, resumed=False, opening=opening)
            found = runner.run(send_and_read(destination, opening, events, account))
            assert found == [started, *events]

        try:
            check()
        finally:
            runner.run(destination.close())
            runner.run(trial.__aexit__(None, None, None))
