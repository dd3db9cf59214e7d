"""Tests of a store's promises about its answers: durable, announced, cancelled."""

import asyncio

import pytest

from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.store import Append, Appended, Conflict, Failed, Mark
from application.testing.appends import (
    as_stored,
    begin,
    begin_with,
    following,
    frame,
    frames,
    stream,
)
from application.testing.conditions import refusing_writes, unplugged
from application.testing.observed import (
    RECOVERY_SECONDS,
    announced,
    attempt,
    expected,
    facts,
    head,
    read,
    settle,
    store,
)
from application.testing.running import Contract
from application.testing.trial import Trial
from domain.head import Head
from domain.identifiers import StreamKey

CALL = stream("call")


class DurabilityContract(Contract):
    """Answers stay true after failures."""

    async def test_durable_an_append_is_seen_by_another_process_when_it_is_answered(
        self, trial: Trial
    ) -> None:
        here, elsewhere = trial.connect(), await trial.connect_elsewhere()
        first = begin_with(CALL, *frames(CALL, 0, 5))
        await store(here, first)
        assert await head(elsewhere, CALL) == as_stored(first.head)
        assert await read(elsewhere, CALL) == expected(first)
        second = following(first.head, *frames(CALL, 5, 5))
        await store(elsewhere, second)
        assert await head(here, CALL) == as_stored(second.head)
        assert await read(here, CALL) == expected(first, second)

    async def test_durable_every_byte_of_two_processes_is_there_through_outages(
        self, trial: Trial
    ) -> None:
        processes = [trial.connect(), await trial.connect_elsewhere()]
        keys = [stream(f"call-{number}") for number in range(6)]
        heads: dict[StreamKey, Head] = {}
        written: dict[StreamKey, list[Append]] = {key: [] for key in keys}
        rounds = 5 * trial.outages
        half = rounds // 2
        for number in range(rounds):
            calls = []
            for place, process in enumerate(processes):
                # Halfway each process takes over the streams of the other.
                its = keys[place ^ (number >= half) :: 2]
                appends = [
                    begin(key, heads.get(key), resumes=True)
                    if number % half == 0
                    else following(heads[key], *frames(key, number * 10, 10))
                    for key in its
                ]
                calls.append((process, appends))
            if number % 10 == 4:
                async with unplugged(trial):
                    for process, appends in calls:
                        assert all(isinstance(it, Failed) for it in await attempt(process, appends))
            elif number % 10 == 7:
                sent = [asyncio.create_task(attempt(*call)) for call in calls]
                async with unplugged(trial):
                    await asyncio.gather(*sent)
            await asyncio.gather(*(settle(*call) for call in calls))
            for _, appends in calls:
                for append in appends:
                    heads[append.stream] = append.head
                    written[append.stream].append(append)
        for process in processes:
            for key in keys:
                assert await head(process, key) == as_stored(heads[key])
                assert await read(process, key) == expected(*written[key])

    async def test_durable_an_outage_is_an_error_with_its_cause_and_passes(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        async with unplugged(trial):
            with pytest.raises(BrokerUnavailable) as heads:
                await destination.store.heads([CALL])
            assert heads.value.__cause__ is not None
            with pytest.raises(BrokerUnavailable):
                await destination.store.heads([])
            (outcome,) = await attempt(destination, [following(first.head, *frames(CALL, 3, 1))])
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, BrokerUnavailable)
            assert outcome.error.__cause__ is not None
        await settle(destination, [following(first.head, *frames(CALL, 3, 1))])
        assert (await read(destination, CALL))[:-1] == expected(first)

    async def test_durable_verify_writable_passes_only_where_writes_are_taken(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        await destination.verify_writable()
        async with unplugged(trial):
            with pytest.raises(PublisherError) as error:
                await destination.verify_writable()
            assert error.value.__cause__ is not None
        await settle(destination, [begin(CALL, None)])
        await destination.verify_writable()

    async def test_durable_verify_writable_raises_where_only_reads_are_taken(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        await destination.verify_writable()
        async with refusing_writes(trial):
            with pytest.raises(PublisherError):
                await destination.verify_writable()
        await settle(destination, [begin(CALL, None)])
        await destination.verify_writable()

    async def test_announced_starts_and_ends_are_known_before_the_answer(
        self, trial: Trial
    ) -> None:
        here, elsewhere = trial.connect(), await trial.connect_elsewhere()
        first = begin_with(CALL, *frames(CALL, 0, 2))
        run = first.head.run
        assert run is not None
        known = [("started", Mark(1, 0), False, run.name)]
        await store(here, first, begin(stream("another"), None))
        assert facts(await announced(elsewhere, CALL)) == known
        second = begin(CALL, first.head, resumes=True)
        known.append(("started", Mark(2, 3), True, run.name))
        await store(here, second)
        assert facts(await announced(elsewhere, CALL)) == known
        third = begin(CALL, second.head)
        newer = third.head.run
        assert newer is not None
        known.append(("ended", Mark(2, 4), False, run.name))
        known.append(("started", Mark(3, 5), False, newer.name))
        await store(here, third)
        assert facts(await announced(elsewhere, CALL)) == known
        fourth = following(third.head, frame(CALL, 0), end=True)
        known.append(("ended", Mark(3, 7), False, newer.name))
        await store(here, fourth)
        assert facts(await announced(elsewhere, CALL)) == known
        found = await announced(here, CALL)
        assert {it.interaction_id for it in found} == {run.opening.interaction_id}

    async def test_announced_also_what_a_call_stored_that_failed_before_it_announced_it(
        self, trial: Trial
    ) -> None:
        destination, other = trial.connect(), trial.connect()
        for number in range(12):
            first = begin(stream(f"c{number}"), None)
            task = asyncio.create_task(attempt(destination, [first]))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            stored = await head(other, first.stream)
            known = facts(await announced(other, first.stream))
            assert stored is None or known == [
                ("started", Mark(1, 0), False, first.head.run and first.head.run.name)
            ]
            await settle(destination, [first])
            assert await head(destination, first.stream) == as_stored(first.head)
            assert len(await announced(other, first.stream)) == 1

    async def test_cancelled_calls_leave_the_store_usable(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin(CALL, None)
        await store(destination, first)
        for number in range(20):
            calls = [
                asyncio.create_task(call)
                for call in (
                    destination.store.heads([CALL]),
                    destination.store.append([following(first.head, frame(CALL, number))]),
                    destination.verify_writable(),
                )
            ]
            for _ in range(number % 7):
                await asyncio.sleep(0)
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        async with asyncio.timeout(RECOVERY_SECONDS):
            while True:  # a cancelled call may yet be stored
                found = await head(destination, CALL)
                assert found is not None
                last = following(found, frame(CALL, 100))
                (outcome,) = await attempt(destination, [last])
                if isinstance(outcome, Appended) or outcome == Conflict(as_stored(last.head)):
                    break
        assert (await read(destination, CALL))[-1].entry == frame(CALL, 100)
        await destination.verify_writable()

    async def test_heads_come_in_the_order_asked_for_with_the_time_of_the_store(
        self, trial: Trial
    ) -> None:
        here, elsewhere = trial.connect(), await trial.connect_elsewhere()
        nothing = await here.store.heads([])
        assert list(nothing.heads) == []
        assert list(await here.store.append([])) == []
        theirs = await elsewhere.store.heads([CALL])
        assert list(theirs.heads) == [None]
        assert 1_500_000_000_000 < nothing.now_ms < 10_000_000_000_000
        later = await here.store.heads([CALL])
        assert nothing.now_ms - 1_000 <= theirs.now_ms <= later.now_ms + 1_000
        while (await here.store.heads([CALL])).now_ms <= later.now_ms:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.001)

    async def test_close_may_be_called_again(self, trial: Trial) -> None:
        destination = trial.connect()
        await store(destination, begin(CALL, None))
        await destination.close()
        await destination.close()
        assert len(await read(trial.connect(), CALL)) == 1
