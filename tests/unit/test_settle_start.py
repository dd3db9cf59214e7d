"""A start of which nobody knows whether it was published: staged, since a network hides it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.outbound.in_memory import InMemory, InMemoryStreams
from application.live_stream import LiveStream
from application.ports.errors import BrokerUnavailable
from application.start_interaction import Patience
from domain.access import Sender
from domain.account import State
from domain.events import AudioAccepted, EndReason, InteractionEnded, InteractionStarted, Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import MediaFormat
from entrypoints.container import Container
from entrypoints.settings import read_settings

STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
OPENING = Opening(STREAM, InteractionId("call"), "d", MediaFormat(8_000), 1_700_000_000_000)


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    settings = read_settings(
        {"in_memory": InMemory()},
        {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true", "RESUME_SECONDS": "0.05"},
    )
    container = Container(settings=settings)
    await container.broker_watch().check()
    publishing = asyncio.create_task(container.publication().run())
    yield container
    await container.background().close()
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)


def lose_answers(
    destination: InMemoryStreams, monkeypatch: pytest.MonkeyPatch, count: int, *, written: bool
) -> None:
    """Let the first `count` answers to `begin` be lost, what was asked being done or not."""
    begin, lost = destination.begin, iter(range(count))

    async def begin_and_lose(*arguments: Any, **named: Any) -> Any:
        if next(lost, None) is None:
            return await begin(*arguments, **named)
        if written:
            await begin(*arguments, **named)
        raise BrokerUnavailable("the answer was lost")

    monkeypatch.setattr(destination, "begin", begin_and_lose)


async def published(destination: InMemoryStreams) -> list[object]:
    return [found.event async for found in destination.read(STREAM)]


async def test_a_start_that_was_published_unknown_to_its_sender_is_ended(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination: Any = container.destination()
    lose_answers(destination, monkeypatch, 2, written=True)
    with pytest.raises(BrokerUnavailable):
        await container.start_interaction()(OPENING, Sender())
    async with asyncio.timeout(10):
        while (facts := await destination.facts(STREAM)).account.state is not State.ENDED:
            await asyncio.sleep(0.01)
    started, ended = await published(destination)
    assert isinstance(started, InteractionStarted)
    assert isinstance(ended, InteractionEnded)
    assert facts.generation == 1


async def test_a_start_that_was_not_published_is_left_at_that(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination: Any = container.destination()
    lose_answers(destination, monkeypatch, 1, written=False)
    with pytest.raises(BrokerUnavailable):
        await container.start_interaction()(OPENING, Sender())
    assert not container.background().is_idle
    async with asyncio.timeout(10):
        while not container.background().is_idle:
            await asyncio.sleep(0.01)
    assert await published(destination) == []


@pytest.mark.parametrize("written", [True, False])
async def test_a_start_tried_again_is_one_start_and_told_of_once(
    container: Container,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    written: bool,
) -> None:
    caplog.set_level("WARNING", "application.start_interaction")
    destination: Any = container.destination()
    lose_answers(destination, monkeypatch, 2, written=written)
    stream = await container.start_interaction()(OPENING, Sender(), patience=Patience(30))
    assert stream.interaction.generation == 1  # type: ignore[union-attr]
    assert len(await published(destination)) == 1
    assert container.background().is_idle
    assert [record.message for record in caplog.records] == ["stream could not be started"]


@pytest.mark.parametrize("answers_lost", [1, 3])
async def test_frames_that_were_published_unknown_to_their_writer_are_neither_lost_nor_twice(
    container: Container, monkeypatch: pytest.MonkeyPatch, answers_lost: int
) -> None:
    """The broker stored a batch and its answer was lost: it is said again, and nobody is cut."""
    destination: Any = container.destination()
    stream = await container.start_interaction()(OPENING, Sender())
    assert isinstance(stream, LiveStream)
    append, lost = destination.append, [True] * answers_lost

    async def append_and_lose(batches: Any) -> Any:
        outcomes = await append(batches)
        if lost:
            lost.pop()
            raise BrokerUnavailable("the answer was lost")
        return outcomes

    monkeypatch.setattr(destination, "append", append_and_lose)
    for seq in range(3):
        container.ingest_audio()(stream, seq, b"ab")
    async with asyncio.timeout(10):
        await stream.outbox.wait_until_empty()
        assert not lost
        assert stream.interaction.state is State.LIVE
        container.ingest_audio()(stream, 3, b"ab")
        container.end_interaction()(stream, EndReason.ENDED)
        while (facts := await destination.facts(STREAM)).account.state is not State.ENDED:
            await asyncio.sleep(0.01)
    started, *frames, ended = await published(destination)
    assert isinstance(started, InteractionStarted)
    assert [frame.frame.seq for frame in frames if isinstance(frame, AudioAccepted)] == [0, 1, 2, 3]
    assert len(frames) == 4
    assert ended == InteractionEnded(
        5, EndReason.ENDED, Ledger(received=4, published=4, bytes=8, audio_ms=0)
    )
    assert facts.generation == 1
