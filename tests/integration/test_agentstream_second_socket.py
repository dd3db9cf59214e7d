"""A second socket of an agentstream call: its first chunk decides whether the run continues."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agentstream_sender import MAX_EARLY_MESSAGES, AgentstreamSender, assert_silence, media, start
from published import Broker, audio, check_positions, ends, entries, kinds, starts
from running import Service, pcm
from waiting import until_published, until_state


@pytest.fixture(autouse=True)
async def silence(no_caller_is_left: None) -> AsyncIterator[None]:
    """Whatever the test is about, the service has answered no sender."""
    yield
    assert_silence()


@pytest.mark.parametrize("is_open", [False, True], ids=["cut", "open"])
async def test_a_second_socket_whose_first_chunk_is_above_the_last_continues(
    start_service: Any, broker: Broker, name: str, is_open: bool
) -> None:
    service = start_service()
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 1, 2, 3)
    await until_published(broker, name, 3)
    if not is_open:
        first.reset()
        await until_state(broker, name, "cut")
    await second.begin(name)
    assert await second.is_left_alone()
    await second.send_chunks(name, 7, 8)
    if is_open:
        assert await first.closed() == 4409
    assert await second.stop(name) == 1000
    assert kinds(broker, name) == [
        "started", "audio", "audio", "audio", "started", "gap", "audio", "audio", "ended",
    ]  # fmt: skip
    assert [(s["generation"], s["resumed"]) for s in starts(broker, name)] == [
        (1, False),
        (2, True),
    ]
    gap = next(entry["data"] for _, entry in entries(broker, name) if entry["type"] == "gap")
    assert gap == {"first_missing": 4, "missing": 3}
    ledger = ends(broker, name)[0]["ledger"]
    assert (ledger["published"], ledger["missing"], ledger["duplicate"]) == (5, 3, 0)
    assert audio(broker, name) == [(chunk, pcm(chunk)) for chunk in (1, 2, 3, 7, 8)]
    check_positions(broker, name)


@pytest.mark.parametrize("is_open", [False, True], ids=["cut", "open"])
@pytest.mark.parametrize("chunk", [1, 3])
async def test_a_second_socket_whose_first_chunk_is_not_above_the_last_begins_a_new_run(
    start_service: Any, broker: Broker, name: str, is_open: bool, chunk: int
) -> None:
    service = start_service(RESUME_SECONDS="1")
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 1, 2, 3)
    await until_published(broker, name, 3)
    if not is_open:
        first.reset()
        await until_state(broker, name, "cut")
    await second.begin(name)
    await second.say(media(name, chunk, pcm(99)))
    if is_open:
        assert await first.closed() == 4409
    await second.send_chunks(name, chunk + 1)
    assert await second.stop(name) == 1000
    await asyncio.sleep(1.2)  # the time in which the old run might have been ended again
    assert kinds(broker, name) == [
        "started", "audio", "audio", "audio", "ended", "started", "audio", "audio", "ended",
    ]  # fmt: skip
    assert [(s["generation"], s["resumed"]) for s in starts(broker, name)] == [
        (1, False),
        (2, False),
    ]
    assert [end["reason"] for end in ends(broker, name)] == ["disconnected", "callended"]
    assert [end["ledger"]["published"] for end in ends(broker, name)] == [3, 2]
    assert all(end["ledger"]["duplicate"] == 0 for end in ends(broker, name))
    assert audio(broker, name)[3:] == [(chunk, pcm(99)), (chunk + 1, pcm(chunk + 1))]
    check_positions(broker, name)


async def test_a_second_socket_without_chunks_continues_by_our_count(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 4)
    await until_published(broker, name, 1)
    first.reset()
    await until_state(broker, name, "cut")
    await second.begin(name)
    await second.say('{"event":"media","media":{"payload":"AAA="}}')
    assert await second.stop(name) == 1000
    assert [seq for seq, _ in audio(broker, name)] == [4, 5]
    assert len(ends(broker, name)) == 1


async def test_a_second_socket_that_says_no_more_than_stop_ends_the_open_run(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 1, 2)
    await until_published(broker, name, 2)
    first.reset()
    await until_state(broker, name, "cut")
    await second.begin(name)
    assert await second.stop(name, "stopped") == 1000
    assert kinds(broker, name) == ["started", "audio", "audio", "started", "ended"]
    assert [end["reason"] for end in ends(broker, name)] == ["stopped"]
    assert ends(broker, name)[0]["ledger"]["published"] == 2


async def test_a_second_socket_is_not_hung_up_on_for_what_it_says_before_its_first_chunk(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 1, 2)
    await until_published(broker, name, 2)
    first.reset()
    await until_state(broker, name, "cut")
    await second.begin(name)
    for bad in (start(name), '{"event":"start"}', "{", '{"event":"media"}', "[]"):
        await second.say(bad)
    await second.say({"event": "dtmf", "dtmf": {"digit": "0"}})
    assert await second.is_left_alone()
    await second.send_chunks(name, 3)
    assert await second.stop(name) == 1000
    assert kinds(broker, name) == [
        "started", "audio", "audio", "started", "dtmf", "audio", "ended",
    ]  # fmt: skip
    ledger = ends(broker, name)[0]["ledger"]
    assert (ledger["published"], ledger["rejected"]) == (3, 5)


async def test_a_flood_before_the_first_chunk_does_not_keep_a_second_socket_from_continuing(
    start_service: Any, broker: Broker, name: str
) -> None:
    service = start_service()
    first, second = [await AgentstreamSender.dial(service.url) for _ in range(2)]
    await first.begin(name)
    await first.send_chunks(name, 1)
    await until_published(broker, name, 1)
    first.reset()
    await until_state(broker, name, "cut")
    await second.begin(name)
    for _ in range(60):
        await second.say({"event": "mark", "mark": {"name": "m"}})
        await second.say("{")
    await second.send_chunks(name, 2, 3)
    assert await second.stop(name) == 1000
    assert audio(broker, name) == [(chunk, pcm(chunk)) for chunk in (1, 2, 3)]
    assert ends(broker, name)[0]["ledger"]["rejected"] >= MAX_EARLY_MESSAGES // 2


async def test_after_the_end_the_same_stream_has_a_new_run_whatever_its_chunk(
    service: Service, broker: Broker, name: str
) -> None:
    for chunks in ((1, 2), (3, 4)):
        sender = await AgentstreamSender.dial(service.url)
        await sender.begin(name)
        await sender.send_chunks(name, *chunks)
        assert await sender.stop(name) == 1000
    assert kinds(broker, name) == ["started", "audio", "audio", "ended"] * 2
    assert [s["resumed"] for s in starts(broker, name)] == [False, False]
    assert [end["ledger"]["published"] for end in ends(broker, name)] == [2, 2]
    check_positions(broker, name)


async def test_two_sockets_of_one_call_are_two_streams_of_one_interaction(
    service: Service, broker: Broker, name: str
) -> None:
    streams = [f"{name}-in", f"{name}-out"]
    senders = [await AgentstreamSender.dial(service.url) for _ in streams]
    for stream, sender in zip(streams, senders, strict=True):
        await sender.begin(stream, call=name)
    for chunk in range(1, 11):
        for stream, sender in zip(streams, senders, strict=True):
            await sender.say(media(stream, chunk, pcm(chunk + 100 * len(stream))))
    for stream, sender in zip(streams, senders, strict=True):
        assert await sender.stop(stream) == 1000
    for stream in streams:
        assert starts(broker, stream)[0]["interaction_id"] == name
        assert starts(broker, stream)[0]["stream_id"] == stream
        assert audio(broker, stream) == [
            (chunk, pcm(chunk + 100 * len(stream))) for chunk in range(1, 11)
        ]
        assert [end["reason"] for end in ends(broker, stream)] == ["callended"]
    index: Any = broker.xrange("rtaa:interactions")
    found = [
        (fields[b"type"], fields[b"stream_id"])
        for _, fields in index
        if fields[b"interaction_id"] == name.encode()
    ]
    assert sorted(found) == sorted(
        (kind, stream.encode()) for kind in (b"started", b"ended") for stream in streams
    )
