"""Tests of a store's promises about concurrent appends to different streams."""

import asyncio
from time import monotonic

from application.ports.errors import BrokerUnavailable
from application.ports.store import Append, Appended, Failed
from application.testing.appends import as_stored, begin, following, frame, frames, stream
from application.testing.conditions import held, locked
from application.testing.observed import attempt, expected, head, read, settle, store
from application.testing.running import Contract
from application.testing.trial import Trial

CALL = stream("call")

CALL_SECONDS = 6.0
"""Callers give up after 5 s; the rest is for a slow machine."""

SOON_SECONDS = 2.5


class WaitingContract(Contract):
    """No stream waits for another, and none gets the data of another."""

    async def test_independent_a_stuck_stream_keeps_no_other_waiting(self, trial: Trial) -> None:
        destination = trial.connect()
        stuck, fine = begin(stream("stuck"), None), begin(stream("fine"), None)
        await store(destination, stuck, fine)
        written = [fine]
        async with held(trial, stuck.stream):
            waiting = asyncio.create_task(
                attempt(destination, [following(stuck.head, frame(stuck.stream, 0))])
            )
            begun_at = monotonic()
            for number in range(20):
                written.append(following(written[-1].head, frame(fine.stream, number)))
                await store(destination, written[-1])
            assert not waiting.done() or monotonic() - begun_at < SOON_SECONDS, "it waited"
        await waiting
        found = await head(destination, stuck.stream)
        assert found is not None
        await settle(destination, [following(found, frame(stuck.stream, 2))])
        assert await read(destination, fine.stream) == expected(*written)

    async def test_independent_stuck_streams_of_a_call_keep_no_other_of_it_waiting(
        self, trial: Trial
    ) -> None:
        """They are `Failed` in time, each alone, and a transient failure is not a refusal."""
        destination = trial.connect()
        stuck = [begin(stream(f"stuck-{number}"), None) for number in range(4)]
        fine = begin(stream("fine"), None)
        await store(destination, *stuck, fine)
        appends = [following(it.head, frame(it.stream, 0)) for it in (*stuck, fine)]
        async with held(trial, *(it.stream for it in stuck)):
            begun_at = monotonic()
            sending = asyncio.create_task(attempt(destination, appends))
            while await head(destination, fine.stream) != as_stored(appends[-1].head):
                assert monotonic() - begun_at < SOON_SECONDS, "it waits for others of its call"
            outcomes = await sending
            assert monotonic() - begun_at < CALL_SECONDS, "the call waits for one after the other"
        assert outcomes[-1] == Appended()
        for outcome in outcomes[:-1]:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, BrokerUnavailable), "it will pass by itself"
        await settle(destination, appends)

    async def test_independent_calls_at_the_same_time_do_not_mix_their_entries(
        self, trial: Trial
    ) -> None:
        processes = [trial.connect(), await trial.connect_elsewhere()]
        written: list[list[Append]] = [[begin(stream(f"c{n}"), None)] for n in range(16)]
        await asyncio.gather(*(store(processes[n % 2], *its) for n, its in enumerate(written)))
        for number in range(8):
            for place, its in enumerate(written):
                size = 1 + (number + place) % 5  # of another length in each
                its.append(following(its[-1].head, *frames(its[0].stream, number * 5, size)))
            await asyncio.gather(
                *(store(processes[n % 2], its[-1]) for n, its in enumerate(written))
            )
        for its in written:
            assert await read(processes[0], its[0].stream) == expected(*its)

    async def test_durable_a_lock_of_another_program_is_unavailable_and_passes(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        first = begin(CALL, None)
        await store(destination, first)
        second = following(first.head, frame(CALL, 0), end=True)
        before = destination.store.epoch_of(CALL)
        async with locked(trial):
            begun_at = monotonic()
            sending = asyncio.create_task(attempt(destination, [second]))
            answers = await asyncio.gather(
                destination.store.heads([CALL]),
                destination.reader.announcements(),
                read(destination, CALL),
                destination.open_runs.heartbeat([CALL]),
                destination.open_runs.heartbeats(),
                destination.verify_writable(),
                return_exceptions=True,
            )
            (outcome,) = await sending
            assert monotonic() - begun_at < CALL_SECONDS
            assert isinstance(outcome, Failed)
            errors = [outcome.error, *(it for it in answers if isinstance(it, BaseException))]
            for error in errors:
                assert isinstance(error, BrokerUnavailable), "it will pass by itself"
        await settle(destination, [second])
        assert destination.store.epoch_of(CALL) == before, "nothing is lost by it"
        assert await read(destination, CALL) == expected(first, second)
