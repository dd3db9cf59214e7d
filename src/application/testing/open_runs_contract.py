"""The promises of `OpenRuns`, as tests to inherit. A test's name begins with its promise."""

from collections.abc import Awaitable, Callable

import pytest

from application.ports.errors import PublisherError
from application.testing.appends import begin, stream
from application.testing.conditions import refusing_writes, unplugged
from application.testing.observed import settle
from application.testing.running import Contract
from application.testing.store_streams import NAMES
from application.testing.trial import Trial

CALL, ANOTHER = stream("call"), stream("call", "another")


class OpenRunsContract(Contract):
    """The contract of `OpenRuns`."""

    async def test_shared_heartbeats_are_seen_by_another_process(self, trial: Trial) -> None:
        here, elsewhere = trial.connect(), await trial.connect_elsewhere()
        assert await elsewhere.open_runs.heartbeats() == {}
        await here.open_runs.heartbeat([CALL])
        await elsewhere.open_runs.heartbeat([ANOTHER])
        seen = await here.open_runs.heartbeats()
        assert set(seen) == {CALL, ANOTHER}
        assert await elsewhere.open_runs.heartbeats() == seen
        await elsewhere.open_runs.forget(CALL, seen[CALL])
        assert set(await here.open_runs.heartbeats()) == {ANOTHER}

    async def test_shared_streams_whose_names_are_alike_are_kept_apart(self, trial: Trial) -> None:
        destination = trial.connect()
        streams = [stream(name, tenant) for name in NAMES for tenant in ("one", "One")]
        await destination.open_runs.heartbeat(streams)
        before = await destination.open_runs.heartbeats()
        assert set(before) == set(streams)
        await destination.open_runs.heartbeat(streams[:1])
        after = await destination.open_runs.heartbeats()
        assert {it for it in streams if after[it] != before[it]} == set(streams[:1])

    async def test_shared_thousands_of_streams_have_their_heartbeats(self, trial: Trial) -> None:
        destination = trial.connect()
        streams = [stream(f"call-{number}") for number in range(2_500)]
        await destination.open_runs.heartbeat(streams)
        first = await destination.open_runs.heartbeats()
        assert set(first) == set(streams)
        await destination.open_runs.heartbeat(streams[:1_700])
        second = await destination.open_runs.heartbeats()
        assert set(second) == set(streams)
        assert {it for it in streams if second[it] != first[it]} == set(streams[:1_700])

    async def test_new_each_heartbeat_differs_from_all_before_and_leaves_the_others(
        self, trial: Trial
    ) -> None:
        processes = [trial.connect(), await trial.connect_elsewhere()]
        await processes[0].open_runs.heartbeat([CALL, ANOTHER])
        first = await processes[0].open_runs.heartbeats()
        seen_heartbeats = [first[CALL]]
        for number in range(6):
            if number == 3:
                await processes[0].open_runs.forget(CALL, seen_heartbeats[-1])
            await processes[number % 2].open_runs.heartbeat([CALL])
            seen = await processes[0].open_runs.heartbeats()
            assert seen[ANOTHER] == first[ANOTHER]
            seen_heartbeats.append(seen[CALL])
        assert len(set(seen_heartbeats)) == 7

    async def test_new_hundreds_of_heartbeats_of_processes_that_come_and_go_all_differ(
        self, trial: Trial
    ) -> None:
        """A counter in each process, or a small one, repeats its numbers."""
        processes = [trial.connect()]
        seen_heartbeats: list[float] = []
        for number in range(400):
            if number in {300, 350}:
                processes.append(await trial.connect_elsewhere())
                await processes[0].open_runs.forget(CALL, seen_heartbeats[-1])
            process = processes[number % len(processes)]
            await process.open_runs.heartbeat([CALL])
            seen_heartbeats.append((await process.open_runs.heartbeats())[CALL])
        assert len(set(seen_heartbeats)) == len(seen_heartbeats)

    async def test_guarded_an_older_heartbeat_removes_nothing(self, trial: Trial) -> None:
        destination = trial.connect()
        await destination.open_runs.heartbeat([CALL])
        before = (await destination.open_runs.heartbeats())[CALL]
        await destination.open_runs.heartbeat([CALL])
        await destination.open_runs.forget(CALL, before)
        now = await destination.open_runs.heartbeats()
        assert set(now) == {CALL}
        await destination.open_runs.forget(CALL, now[CALL])
        assert await destination.open_runs.heartbeats() == {}

    async def test_guarded_forgetting_what_is_not_there_is_nothing(self, trial: Trial) -> None:
        destination = trial.connect()
        await destination.open_runs.heartbeat([ANOTHER])
        await destination.open_runs.forget(CALL, 1.0)
        assert set(await destination.open_runs.heartbeats()) == {ANOTHER}

    async def test_honest_an_unreachable_place_raises_also_for_no_streams(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        await destination.open_runs.heartbeat([])
        await destination.open_runs.heartbeat([CALL])
        heartbeat = (await destination.open_runs.heartbeats())[CALL]
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: destination.open_runs.heartbeat([]),
            lambda: destination.open_runs.heartbeat([CALL]),
            destination.open_runs.heartbeats,
            lambda: destination.open_runs.forget(CALL, heartbeat),
        ]
        async with unplugged(trial):
            for call in calls:
                with pytest.raises(PublisherError) as error:
                    await call()
                assert error.value.__cause__ is not None
        await settle(destination, [begin(CALL, None)])
        assert set(await destination.open_runs.heartbeats()) == {CALL}

    async def test_honest_where_only_reads_are_taken_a_heartbeat_raises_also_for_no_streams(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        await destination.open_runs.heartbeat([CALL])
        async with refusing_writes(trial):
            for streams in ([], [CALL]):
                with pytest.raises(PublisherError):
                    await destination.open_runs.heartbeat(streams)
        await settle(destination, [begin(CALL, None)])
        assert set(await destination.open_runs.heartbeats()) == {CALL}
