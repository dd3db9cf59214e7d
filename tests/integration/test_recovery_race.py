"""A run that is taken up in the very moment in which somebody else is about to end it."""

from collections.abc import AsyncIterator

import pytest

from adapters.outbound.redis_streams.connection import Reply
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.pipeline import Pipeline
from adapters.outbound.redis_streams.resp import Command
from application.ports.destination import DestinationOptions
from domain.account import State
from domain.events import Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat


@pytest.fixture
async def destination(valkey: EmbeddedValkey) -> AsyncIterator[RedisDestination]:
    destination = RedisDestination(DestinationOptions(prefix="race"), valkey.url)
    yield destination
    await destination.close()


async def test_a_run_begun_after_its_owner_was_looked_up_is_not_ended(
    destination: RedisDestination, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = StreamKey(TenantId("tenant"), StreamId(name))
    opening = Opening(stream, InteractionId(name), "d", MediaFormat(8_000), 1_700_000_000_000)
    await destination.open_runs.tend([stream])
    await destination.publisher.begin(opening, owner="dead", has_token=False)
    run_one = Pipeline.run_one

    async def begin_after_the_look_up(self: Pipeline, command: Command) -> Reply:
        reply = await run_one(self, command)
        if command[0] == "HGET":
            await destination.publisher.begin(opening, owner="alive", has_token=False)
        return reply

    beat = (await destination.open_runs.beats())[stream]
    monkeypatch.setattr(Pipeline, "run_one", begin_after_the_look_up)
    assert not await destination.open_runs.end_untended(stream, beat)
    facts = await destination.reader.facts(stream)
    assert facts is not None
    assert facts.account.state is State.LIVE
