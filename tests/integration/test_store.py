"""The promises of `StreamStore`, kept over a real broker by two processes' worth of stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from broker_lab import BrokerLab
from store_oracle import Writer, joined, placed, stream_key
from waiting import until

from adapters.outbound.redis_streams import append_calls, store
from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.redis_streams.entries import EntryReader
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.store import (
    APPENDED,
    Append,
    Conflict,
    Failed,
    Mark,
    Outcome,
)
from domain.account import State
from domain.entries import Started
from domain.head import Access, Head
from domain.ledger import Ledger

STREAM, HEAD, INDEX = "rtaa:audio:{tenant/%s}", "rtaa:interaction:{tenant/%s}", "rtaa:interactions"


@pytest.fixture(scope="module")
def lab() -> Any:
    with BrokerLab() as lab:
        yield lab


class Two:
    """Two processes over one broker, and what a consumer finds there."""

    def __init__(self, lab: BrokerLab, *destinations: RedisDestination) -> None:
        self.lab = lab
        self.ours, self.other = destinations
        self.writer = Writer()

    async def append(self, append: Append) -> Outcome:
        (outcome,) = await self.ours.store.append([append])
        return outcome

    async def stored(self, append: Append) -> Head:
        assert await self.append(append) is APPENDED
        return append.head

    async def head(self, name: str, *, of: str = "other") -> Head | Failed | None:
        destination = self.other if of == "other" else self.ours
        (head,) = (await destination.store.heads([stream_key(name)])).heads
        return head

    def entries(self, name: str) -> list[Any]:
        with self.lab.client() as client:
            broker: Any = client
            reader = EntryReader(broker.hget(HEAD % name, "started"))
            return [reader.read(*it) for it in broker.xrange(STREAM % name)]

    def index(self) -> list[str]:
        with self.lab.client() as client:
            broker: Any = client
            return [fields[b"event_id"].decode() for _, fields in broker.xrange(INDEX)]

    def marks(self, name: str) -> list[bytes]:
        with self.lab.client() as client:
            broker: Any = client
            return [it for it in broker.hgetall(HEAD % name) if it.startswith(b"announce:")]

    def command(self, *words: str | int) -> Any:
        with self.lab.client() as client:
            broker: Any = client
            return broker.execute_command(*words)

    def break_index(self) -> None:
        self.command("SET", INDEX, "of another program")

    def mend_index(self) -> None:
        self.command("DEL", INDEX)


@pytest.fixture
async def two(lab: BrokerLab) -> AsyncIterator[Two]:
    with lab.client() as client:
        client.flushall()
    destinations = [RedisDestination(DestinationOptions(), lab.url) for _ in range(2)]
    yield Two(lab, *destinations)
    for destination in destinations:
        await destination.close()


async def test_what_is_appended_is_there_for_every_process_when_the_call_returns(two: Two) -> None:
    begun = two.writer.start("call")
    spoken = two.writer.speak(begun.head, 3)
    noted = two.writer.note(spoken.head)
    ended = two.writer.end(noted.head)
    expected: list[Any] = []
    for append in (begun, spoken, noted, ended):
        await two.stored(append)
        expected += placed(append)
        assert await two.head("call") == append.head
        assert two.entries("call") == expected


async def test_a_stream_that_the_broker_does_not_know_has_no_head(two: Two) -> None:
    assert await two.head("call") is None
    assert (await two.other.store.heads([])).heads == []


async def test_the_time_of_heads_is_the_broker_s(two: Two) -> None:
    before = two.command("TIME")
    now_ms = (await two.ours.store.heads([])).now_ms
    after = two.command("TIME")
    first, last = (int(s) * 1_000 + int(us) // 1_000 for s, us in (before, after))
    assert first <= now_ms <= last


async def test_heads_of_any_number_of_streams_come_in_the_order_asked_for(two: Two) -> None:
    names = [f"call-{number}" for number in range(2 * store.PAGE + 7)]
    appends = {name: two.writer.start(name) for name in names[::2]}
    assert set(await two.ours.store.append(list(appends.values()))) == {APPENDED}
    found = (await two.other.store.heads([stream_key(name) for name in names])).heads
    assert found == [appends[name].head if name in appends else None for name in names]


async def test_an_append_that_expects_another_revision_is_told_the_head(
    two: Two,
) -> None:
    begun = two.writer.start("call")
    head = await two.stored(two.writer.speak(await two.stored(begun)))
    entries = two.entries("call")
    for late in (two.writer.start("call"), begun, two.writer.speak(begun.head)):
        assert await two.append(late) == Conflict(head)
    unknown = two.writer.speak(replace(head, revision="of another"))
    assert await two.append(unknown) == Conflict(head)
    assert two.entries("call") == entries


async def test_an_append_to_a_stream_that_is_gone_is_told_so(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    two.command("DEL", STREAM % "call", HEAD % "call")
    assert await two.append(two.writer.speak(head)) == Conflict(None)
    assert two.command("EXISTS", STREAM % "call", HEAD % "call") == 0


async def test_an_append_that_is_sent_again_finds_its_own_head(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    append = two.writer.speak(head, 2)
    await two.stored(append)
    assert await two.append(append) == Conflict(append.head)
    assert len(two.entries("call")) == 3


async def test_one_append_may_write_several_generations(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    rest = two.writer.speak(head, 2)
    resumed = two.writer.start("call", rest.head, resume=True)
    spoken = two.writer.speak(resumed.head, 2)
    new_run = two.writer.start("call", spoken.head)
    whole = joined("call", head.revision, [rest, resumed, spoken, new_run])
    await two.stored(whole)
    assert await two.head("call") == new_run.head
    ids = [f"{mark.generation}-{mark.position}" for mark, _ in two.entries("call")]
    assert ids == ["1-0", "1-1", "1-2", "2-3", "2-4", "2-5", "2-6", "3-7"]
    assert two.index() == [f"tenant/call/{it}" for it in ("1-0", "2-3", "2-6", "3-7")]
    assert not two.marks("call")


async def test_a_new_run_begins_without_the_seqs_of_the_one_before(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    head = await two.stored(two.writer.speak(head))
    begun = two.writer.start("call", head)
    await two.stored(begun)
    found = await two.head("call")
    assert found == begun.head
    assert two.command("HMGET", HEAD % "call", "first_seq", "last_seq") == [None, None]


async def test_entries_older_than_retention_are_trimmed_and_no_others(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    head = await two.stored(two.writer.speak(head, 9))
    head = await two.stored(two.writer.speak(head, keep_from=Mark(1, 4)))
    assert [mark.position for mark, _ in two.entries("call")] == list(range(4, 11))
    assert await two.head("call") == head
    assert two.command("HGET", HEAD % "call", "trimmed") == b"4"
    head = await two.stored(two.writer.speak(head, keep_from=Mark(1, 4)))
    head = await two.stored(two.writer.speak(head, keep_from=Mark(1, head.next_position + 1)))
    assert two.entries("call") == []
    assert await two.head("call") == head
    assert await two.other.reader.head(stream_key("call")) == head
    await two.stored(two.writer.speak(head))


async def test_both_keys_live_on_after_each_append(two: Two) -> None:
    async def lives(name: str) -> bool:
        ages = [two.command("PTTL", key % name) for key in (STREAM, HEAD)]
        return all(890_000 < age <= 900_000 for age in ages)

    head = await two.stored(two.writer.start("call"))
    assert await lives("call")
    for make in (two.writer.speak, two.writer.cut, two.writer.end):
        for key in (STREAM, HEAD):
            two.command("PERSIST", key % "call")
        head = await two.stored(make(head))
        assert await lives("call")


async def test_entries_that_were_evicted_alone_are_missed_by_heads_and_by_appends(
    two: Two,
) -> None:
    head = await two.stored(two.writer.start("call"))
    head = await two.stored(two.writer.speak(head, 3))
    two.command("DEL", STREAM % "call")
    lost = await two.head("call")
    assert isinstance(lost, Head)
    assert lost == replace(head, revision=lost.revision, entries_lost=True)
    for append in (two.writer.speak(head), two.writer.cut(head)):
        assert await two.append(append) == Conflict(lost)
        assert await two.head("call") == lost
        assert two.command("EXISTS", STREAM % "call") == 0
    begun = two.writer.start("call", lost, resume=True)
    await two.stored(begun)
    assert await two.head("call") == begun.head
    assert [mark for mark, _ in two.entries("call")] == [Mark(1, 4), Mark(2, 5)]
    assert await two.append(begun) == Conflict(begun.head)


async def test_entries_that_are_left_alone_make_a_head_of_the_last(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    head = await two.stored(two.writer.speak(head, 5, keep_from=Mark(1, 2)))
    entries = two.entries("call")
    two.command("DEL", HEAD % "call")
    lost = await two.head("call")
    assert isinstance(lost, Head)
    assert (lost.account_lost, lost.run, lost.next_position, lost.first_kept) == (True, None, 6, 2)
    assert (lost.lease.generation, lost.lease.owner, lost.lease.granted_at_ms) == (1, "", 0)
    for append in (two.writer.start("call"), two.writer.speak(head)):
        assert await two.append(append) == Conflict(lost)
    begun = two.writer.start("call", lost)
    await two.stored(begun)
    assert await two.head("call") == begun.head
    assert two.entries("call") == [*entries, *placed(begun)]


@pytest.mark.parametrize("key", [STREAM, HEAD])
async def test_a_head_of_what_was_lost_is_no_longer_matched_once_it_has_changed(
    two: Two, key: str
) -> None:
    head = await two.stored(two.writer.start("call"))
    two.command("DEL", key % "call")
    lost = await two.head("call")
    assert isinstance(lost, Head)
    first, second = two.writer.start("call", lost), two.writer.start("call", lost)
    await two.stored(first)
    assert await two.append(second) == Conflict(first.head)
    assert await two.append(two.writer.speak(head)) == Conflict(first.head)


async def test_an_entry_of_another_program_keeps_ours_from_being_stored_in_part(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    two.command("XADD", STREAM % "call", "9-9", "type", "of another program")
    outcome = await two.append(two.writer.speak(head, 3))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, BrokerRefused)
    assert two.command("XLEN", STREAM % "call") == 2
    assert await two.head("call") == head


async def test_a_head_that_cannot_be_read_fails_alone(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    await two.stored(two.writer.start("other"))
    for field, value in (("started", "{}"), ("next", "x"), ("state", "odd"), ("announce:1", "x")):
        kept = two.command("HGET", HEAD % "call", field)
        two.command("HSET", HEAD % "call", field, value)
        found = await two.other.store.heads([stream_key("call"), stream_key("other")])
        failed, other = found.heads
        assert isinstance(failed, Failed), field
        assert isinstance(failed.error, BrokerRefused)
        assert isinstance(other, Head)
        if kept is None:
            two.command("HDEL", HEAD % "call", field)
        else:
            two.command("HSET", HEAD % "call", field, kept.decode())
    assert await two.head("call") == head


async def test_whatever_changes_of_a_head_is_stored(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    assert head.run is not None
    lease, account = head.lease, head.account
    changes: list[dict[str, Any]] = [
        {"lease": replace(lease, owner="another", granted_at_ms=lease.granted_at_ms + 1)},
        {"lease": replace(lease, generation=7)},
        {"begun_at": 5},
        {"run": replace(head.run, name="another", access=Access.OPEN)},
        {"account": replace(account, state=State.CUT)},
        {"account": replace(account, first_seq=3)},
        {"account": replace(account, last_seq=9)},
        {"account": replace(account, ledger=Ledger(received=1, rejected=1))},
        {"account": replace(account, next_position=40)},
        {"first_kept": 2},
        {},
    ]
    for change in changes:
        after = replace(head, revision=two.writer.revision(), **change)
        head = await two.stored(Append(stream_key("call"), head.revision, (), after))
        assert await two.head("call") == head, change


async def test_what_was_sent_of_many_streams_may_be_dropped(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_calls, "MAX_SENT", 2)
    heads = {name: await two.stored(two.writer.start(name)) for name in "abcde"}
    for _ in range(3):
        for name, head in heads.items():
            heads[name] = await two.stored(two.writer.speak(head))
    for name, head in heads.items():
        assert await two.head(name) == head


# Announcements


async def test_a_start_and_an_end_are_announced_when_the_append_returns(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    assert two.index() == ["tenant/call/1-0"]
    head = await two.stored(two.writer.speak(head))
    await two.stored(two.writer.end(head))
    assert two.index() == ["tenant/call/1-0", "tenant/call/1-2"]
    assert not two.marks("call")


async def test_an_append_fails_while_it_cannot_be_announced_and_is_its_own_conflict_then(
    two: Two,
) -> None:
    append, other = two.writer.start("call"), two.writer.start("other")
    await two.stored(other)
    two.break_index()
    spoken = two.writer.speak(other.head)
    failed, stored = await two.ours.store.append([append, spoken])
    assert isinstance(failed, Failed)
    assert stored is APPENDED
    assert two.marks("call") == [b"announce:1-0"]
    assert isinstance(await two.append(append), Failed)
    assert isinstance(await two.head("call"), Failed)
    two.mend_index()
    assert await two.append(append) == Conflict(append.head)
    assert two.index() == ["tenant/call/1-0"]
    assert not two.marks("call")


async def test_who_reads_a_head_announces_what_its_writer_has_not(two: Two) -> None:
    append = two.writer.start("call")
    two.break_index()
    assert isinstance(await two.append(append), Failed)
    two.mend_index()
    assert await two.head("call") == append.head
    assert two.index() == ["tenant/call/1-0"]
    assert not two.marks("call")
    assert await two.head("call", of="ours") == append.head
    await two.stored(two.writer.speak(append.head))
    assert two.index() == ["tenant/call/1-0"]


async def test_the_next_append_announces_what_the_one_before_could_not(two: Two) -> None:
    append = two.writer.start("call")
    two.break_index()
    assert isinstance(await two.append(append), Failed)
    spoken = two.writer.speak(append.head)
    assert isinstance(await two.append(spoken), Failed)
    two.mend_index()
    await two.stored(two.writer.speak(spoken.head))
    assert two.index() == ["tenant/call/1-0"]
    assert not two.marks("call")


async def test_an_append_that_was_not_stored_is_never_announced(two: Two) -> None:
    head = await two.stored(two.writer.start("call"))
    two.command("ACL", "SETUSER", "default", "-xadd")
    failed = two.writer.start("call", head)
    assert isinstance(await two.append(failed), Failed)
    two.command("ACL", "SETUSER", "default", "+xadd")
    await two.stored(two.writer.speak(head))
    assert two.index() == ["tenant/call/1-0"]
    assert await two.append(failed) != Conflict(failed.head)
    assert two.index() == ["tenant/call/1-0"]


async def test_a_cancelled_append_is_stored_or_not_and_announced_by_the_next(two: Two) -> None:
    append = two.writer.start("call")
    await two.head("call", of="ours")  # connected
    with two.lab.frozen():
        task = asyncio.create_task(two.ours.store.append([append]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await until(lambda: two.command("EXISTS", STREAM % "call"))
    assert two.index() == []
    await two.stored(two.writer.speak(append.head))
    assert two.index() == ["tenant/call/1-0"]


# The index, when the broker has lost it


async def test_who_asks_whether_the_broker_takes_writes_has_the_index_repaired(two: Two) -> None:
    await two.ours.verify_writable()
    head = await two.stored(two.writer.start("call"))
    await two.stored(two.writer.end(head))
    expected = two.index()
    two.command("DEL", INDEX)
    await two.ours.verify_writable()
    assert two.index() == expected
    await two.ours.verify_writable()
    assert two.index() == expected


async def test_what_the_index_lost_while_the_connection_was_lost_is_repaired(two: Two) -> None:
    await two.ours.verify_writable()
    await two.stored(two.writer.start("call"))
    two.command("DEL", INDEX)
    await two.stored(two.writer.start("other"))
    two.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    epoch = two.ours.store.epoch_of(stream_key("call"))
    with suppress(BrokerUnavailable):  # the connection may not have noticed yet
        await two.ours.verify_writable()
    await two.ours.verify_writable()
    assert two.ours.store.epoch_of(stream_key("call")) > epoch
    assert sorted(two.index()) == ["tenant/call/1-0", "tenant/other/1-0"]


async def test_a_broker_is_not_writable_while_its_index_cannot_be_repaired(two: Two) -> None:
    await two.ours.verify_writable()
    await two.stored(two.writer.start("call"))
    two.command("DEL", INDEX)
    shared = ("~rtaa:{writable}:*", "~rtaa:interactions", "~rtaa:open")
    two.command("ACL", "SETUSER", "default", "resetkeys", *shared)
    for _ in range(2):
        with pytest.raises(PublisherError):
            await two.ours.verify_writable()
    two.command("ACL", "SETUSER", "default", "allkeys")
    await two.ours.verify_writable()
    assert two.index() == ["tenant/call/1-0"]


async def test_a_stream_that_cannot_be_read_keeps_the_index_of_no_other_from_being_repaired(
    two: Two,
) -> None:
    await two.ours.verify_writable()
    await two.stored(two.writer.start("call"))
    await two.stored(two.writer.start("other"))
    two.command("DEL", INDEX)
    two.command("SET", STREAM % "call", "of another program")
    await two.ours.verify_writable()
    assert two.index() == ["tenant/other/1-0"]


# Failures of the whole


async def test_a_broker_that_is_away_fails_the_call_and_is_another_epoch_when_it_is_back() -> None:
    with BrokerLab() as lab:
        destination = RedisDestination(DestinationOptions(), lab.url)
        writer, call = Writer(), stream_key("call")
        begun = writer.start("call")
        assert await destination.store.append([begun]) == [APPENDED]
        epoch = destination.store.epoch_of(call)
        append = writer.speak(begun.head)
        lab.stop()
        with pytest.raises(BrokerUnavailable):
            await destination.store.append([append])
        with pytest.raises(BrokerUnavailable):
            await destination.store.heads([call])
        lab.start()
        (outcome,) = await destination.store.append([append])
        assert outcome is APPENDED
        assert destination.store.epoch_of(call) > epoch
        await destination.close()


def test_entries_that_do_not_grow_are_a_mistake_of_the_caller() -> None:
    writer = Writer()
    begun = writer.start("call")
    resumed = writer.start("call", begun.head, resume=True)
    calls = append_calls.AppendCalls("rtaa", 1_000)
    first = resumed.segments[0].entries[0]
    assert isinstance(first, Started)
    with pytest.raises(ValueError, match="generations grow"):
        calls.write(joined("call", None, [resumed, begun]))
    spoken = writer.speak(resumed.head)
    with pytest.raises(ValueError, match="generations grow"):
        calls.write(joined("call", None, [begun, spoken]))
