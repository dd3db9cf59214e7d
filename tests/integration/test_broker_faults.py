"""Each thing that a broker or the way to it may do under a live call: not one frame is lost."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest
import redis
from broker_lab import BrokerLab
from broker_refusals import (
    cluster_down,
    join_slots,
    loading,
    out_of_memory,
    password,
    read_only,
    unable_to_save,
    without_permission,
    without_replicas,
)
from chaos_proxy import ChaosProxy
from published import audio, entries, facts, index
from running import Caller, Service, pcm
from waiting import LIMIT_SECONDS, until, until_state

pytestmark = pytest.mark.long(50)


class Site:
    """A service, its broker, and the way between them."""

    def __init__(self, start_service: Any, stack: ExitStack, **config: str) -> None:
        self.lab = stack.enter_context(BrokerLab(**{"appendfsync": "everysec", **config}))
        self.proxy = stack.enter_context(ChaosProxy(self.lab.port))
        host, port = self.proxy.address
        if "cluster-enabled" in config:
            join_slots(self.lab)
        self.service: Service = start_service(
            REDIS_URL=f"redis://{host}:{port}/0",
            RESUME_SECONDS="1",
            ACK_INTERVAL="1",
            DRAIN_SECONDS="1",  # when it stops the broker is gone
        )

    def is_ready(self) -> bool:
        return self.service.get("/health/ready")[0] == 200


@pytest.fixture
def site(start_service: Any) -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:
        yield lambda **config: Site(start_service, stack, **config)


Fault = Callable[[Site], AbstractContextManager[None]]


@contextmanager
def killed(site: Site) -> Iterator[None]:
    site.lab.kill()
    try:
        yield
    finally:
        site.lab.start()


@contextmanager
def frozen(site: Site) -> Iterator[None]:
    with site.lab.frozen():
        yield


@contextmanager
def black_hole(site: Site) -> Iterator[None]:
    site.proxy.black_hole()
    try:
        yield
    finally:
        site.proxy.heal()


@contextmanager
def swallowed(site: Site) -> Iterator[None]:
    site.proxy.swallow_replies()
    try:
        yield
    finally:
        site.proxy.heal()


@contextmanager
def refused(site: Site) -> Iterator[None]:
    site.proxy.refuse()
    site.proxy.reset()
    try:
        yield
    finally:
        site.proxy.heal()


STAYS_AWAY: dict[str, tuple[Fault, dict[str, str]]] = {
    "killed": (killed, {}),
    "killed under fsync always": (killed, {"appendfsync": "always"}),
    "frozen": (frozen, {}),
    "black hole": (black_hole, {}),
    "replies swallowed": (swallowed, {}),
    "connections refused": (refused, {}),
    "OOM": (lambda site: out_of_memory(site.lab), {}),
    "READONLY": (lambda site: read_only(site.lab), {}),
    "MISCONF": (lambda site: unable_to_save(site.lab), {}),
    "NOREPLICAS": (lambda site: without_replicas(site.lab), {}),
    "another password": (lambda site: password(site.lab, "rotated"), {}),
    "NOPERM evalsha": (lambda site: without_permission(site.lab, "evalsha"), {}),
    "NOPERM xadd": (lambda site: without_permission(site.lab, "xadd"), {}),
    "NOPERM hset": (lambda site: without_permission(site.lab, "hset"), {}),
    "NOPERM pexpire": (lambda site: without_permission(site.lab, "pexpire"), {}),
    "LOADING": (lambda site: loading(site.lab, 2.0), {}),
    "CLUSTERDOWN": (lambda site: cluster_down(site.lab), {"cluster-enabled": "yes"}),
}
"""Faults that last, and are noticed: not ready meanwhile, and ready by itself afterwards."""


@pytest.mark.parametrize("fault", STAYS_AWAY)
async def test_a_fault_that_lasts_costs_no_frame_and_is_told_by_readiness(
    site: Callable[..., Site], name: str, fault: str
) -> None:
    stage, config = STAYS_AWAY[fault]
    at = site(**config)
    caller = await Caller.dial(at.service.url)
    await caller.start(name)
    await caller.speak(*range(20))
    await caller.hear_ack(19)
    if fault == "LOADING":
        with at.lab.client() as broker:
            broker.mset({f"ballast-{number}": "" for number in range(500)})
    context = stage(at)
    await asyncio.to_thread(context.__enter__)
    try:
        await caller.speak(*range(20, 40))
        await until(lambda: not at.is_ready())
        assert at.service.get("/health/live")[0] == 200
        status = at.service.get_json("/health")
        assert (status["status"], status["pubsub"]) == ("degraded", False)
        assert at.service.metric("ingest_broker_up") == 0
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
    await caller.speak(*range(40, 60))
    await caller.hear_ack(59)
    await until(at.is_ready)
    check(at, name, 60, await caller.end())


def check(at: Site, name: str, frames: int, ledger: dict[str, int]) -> None:
    """Nothing lost, nothing twice, in order, one end, as the sender was told."""
    counts = {key: ledger[key] for key in ("received", "published", "lost", "missing")}
    assert counts == {"received": frames, "published": frames, "lost": 0, "missing": 0}
    with at.lab.client() as broker:
        assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(frames)]
        found = entries(broker, name)
        positions = [int(entry_id.split("-")[1]) for entry_id, _ in found]
        assert positions == list(range(len(found)))
        assert [e["type"] for _, e in found if e["type"] not in ("audio", "started")] == ["ended"]
        assert found[-1][1]["data"]["ledger"] == ledger
        assert json.loads(facts(broker, name)["ledger"]) == ledger
    assert at.service.metric("ingest_buffered_bytes") == 0
    assert at.service.metric("ingest_frames_total", outcome="lost") == 0


@pytest.mark.parametrize("is_cut", [True, False])
async def test_an_index_that_was_lost_is_restored(
    site: Callable[..., Site], name: str, *, is_cut: bool
) -> None:
    at = site()
    one, other = [await Caller.dial(at.service.url) for _ in range(2)]
    await one.start(name)
    await other.start(f"{name}-other")
    await one.end()
    with at.lab.client() as broker:

        def announced() -> list[dict[bytes, bytes]]:
            found: Any = broker.xrange("rtaa:interactions")
            return [fields for _, fields in found]

        before = announced()
        assert at.lab.forget("rtaa:interactions") == 1
        if is_cut:
            at.proxy.reset()
        await until(lambda: announced() == before)
    assert len(before) == 3


async def test_a_sender_that_resumes_while_the_broker_is_away_continues_with_its_run(
    site: Callable[..., Site], name: str
) -> None:
    at = site()  # RESUME_SECONDS is 1
    caller, again = [await Caller.dial(at.service.url) for _ in range(2)]
    await caller.start(name)
    await caller.speak(*range(50))
    await caller.hear_ack(49)
    with at.lab.frozen():
        await caller.speak(*range(50, 80))
        caller.reset()
        await again.start(name, wait=False, resume=True)
        await asyncio.sleep(3)  # not for luck: nothing happens but that time passes
    started = await again.hear("started")
    last_seq = started["last_seq"]
    assert (started["generation"], last_seq >= 49) == (2, True)
    await again.speak(*range(50, 90))
    ledger = await again.end()
    assert ledger["duplicate"] == last_seq - 49
    with at.lab.client() as broker:
        assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(90)]
        kinds = [e["type"] for _, e in entries(broker, name)]
        assert (kinds.count("started"), kinds.count("ended")) == (2, 1)


async def test_a_run_whose_sender_is_gone_waits_for_it_when_the_broker_is_back(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    caller = await Caller.dial(at.service.url)
    await caller.start(name)
    await caller.speak(*range(50))
    await caller.hear_ack(49)
    with at.lab.client() as broker:
        caller.reset()
        await until_state(broker, name, "cut")
        with at.lab.frozen():
            await asyncio.sleep(3)
        again = await Caller.dial(at.service.url)
        assert (await again.start(name, resume=True))["last_seq"] == 49
        again.reset()
        await until_state(broker, name, "ended")
        assert [e["type"] for _, e in entries(broker, name)].count("ended") == 1


async def test_a_broker_that_comes_back_younger_gets_a_replay_of_what_it_lost(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    caller, quiet = [await Caller.dial(at.service.url) for _ in range(2)]
    await caller.start(name)
    await quiet.start(f"{name}-quiet")

    async def speak_on(until: asyncio.Event) -> int:
        seq = 0
        while not until.is_set():
            await caller.speak(seq)
            seq += 1
            await asyncio.sleep(0.005)
        return seq

    stop = asyncio.Event()
    speaking = asyncio.create_task(speak_on(stop))
    await caller.hear_ack(20)
    # The quiet one, and one that has ended, send their last within the time that is lost.
    marked = threading.Event()
    noted = asyncio.create_task(asyncio.to_thread(at.lab.come_back_younger, 2.0, marked))
    assert await asyncio.to_thread(marked.wait, LIMIT_SECONDS)
    await quiet.speak(*range(10))
    await quiet.hear_ack(9)
    gone = await Caller.dial(at.service.url)
    await gone.start(f"{name}-gone")
    await gone.speak(*range(10))
    gone_ledger = await gone.end()
    assert await noted > 0
    await until(lambda: at.service.metric("ingest_replayed_frames_total") >= 20)  # it has noticed
    await until(at.is_ready)
    with at.lab.client() as broker:  # before any of them says anything more
        assert [seq for seq, _ in audio(broker, f"{name}-quiet")] == list(range(10))
        assert [seq for seq, _ in audio(broker, f"{name}-gone")] == list(range(10))
        ended = [e["data"] for _, e in entries(broker, f"{name}-gone") if e["type"] == "ended"]
        assert [end["ledger"] for end in ended] == [gone_ledger]
        index: Any = broker.xrange("rtaa:interactions")
        announced = [fields[b"event_id"].decode() for _, fields in index]
        for call in (name, f"{name}-quiet", f"{name}-gone"):
            announcing = {f"tenant-abc/{call}/{i}" for i, e in entries(broker, call)
                    if e["type"] in ("started", "ended")}  # fmt: skip
            assert announcing <= set(announced)
    stop.set()
    frames = await speaking
    check(at, name, frames, await caller.end())


async def test_a_stream_that_was_lost_entirely_is_rebased_to_0_with_what_is_still_held(
    start_service: Any, name: str
) -> None:
    with BrokerLab() as lab:
        service = start_service(REDIS_URL=lab.url, REWIND_SECONDS="0.2", ACK_INTERVAL="1")
        caller = await Caller.dial(service.url)
        await caller.start(name)
        await caller.speak(*range(5))
        await caller.hear_ack(4)
        await until(
            lambda: service.metric("ingest_kept_bytes") == 0
        )  # the first five are too old to be held
        await caller.speak(*range(5, 8))
        await caller.hear_ack(7)
        lab.forget_all_keys()
        await caller.speak(8, 9)
        await caller.hear_ack(9)
        ledger = await caller.end()
        with lab.client() as broker:
            found = entries(broker, name)
            assert [e["type"] for _, e in found] == ["started", "gap", *["audio"] * 5, "ended"]
            assert [i for i, _ in found] == [f"2-{position}" for position in range(8)]
            assert found[0][1]["data"]["resumed"] is True
            assert found[1][1]["data"] == {"first_missing": 0, "missing": 5}
            assert [seq for seq, _ in audio(broker, name)] == [5, 6, 7, 8, 9]
            assert (ledger["received"], ledger["published"], ledger["lost"]) == (10, 5, 5)
            assert ledger["missing"] == 5
            assert found[-1][1]["data"]["ledger"] == ledger
        assert service.metric("ingest_rebased_streams_total") == 1
        assert service.metric("ingest_frames_total", outcome="lost") == 5


async def test_a_lost_stream_that_says_nothing_more_is_there_again_before_the_service_is_ready(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    caller = await Caller.dial(at.service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    await asyncio.to_thread(at.lab.come_back_empty)
    # It has noticed: that it was down may be over before anybody can look.
    await until(lambda: at.service.metric("ingest_rebased_streams_total") == 1)
    await until(at.is_ready)
    with at.lab.client() as broker:
        assert entries(broker, name)[0][0] == "2-0"
        assert [seq for seq, _ in audio(broker, name)] == list(range(10))
    assert (await caller.end())["published"] == 10


async def test_a_start_after_a_lost_one_is_newer_than_it(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    for generation in range(1, 4):
        caller = await Caller.dial(at.service.url)
        assert (await caller.start(name, resume=True))["generation"] == generation
    at.lab.forget_all_keys()
    again = await Caller.dial(at.service.url)
    assert (await again.start(name, resume=True))["generation"] == 5  # 4 was the lost one's
    assert await caller.closed() == 4409
    await again.speak(0)
    check(at, name, 1, await again.end())


@pytest.mark.parametrize(
    ("direction", "after"),
    [
        *(("to_server", count) for count in (1, 100, 1_000, 5_000)),
        *(("to_client", count) for count in (1, 5, 20, 60)),
    ],
)
async def test_a_connection_cut_at_any_byte_of_a_batch_costs_nothing(
    site: Callable[..., Site], name: str, direction: str, after: int
) -> None:
    at = site()
    caller = await Caller.dial(at.service.url)
    await caller.start(name)
    for turn in range(3):
        before = connections_made(at.lab)
        if direction == "to_server":
            at.proxy.cut_after(to_server=after, new=False)
        else:
            at.proxy.cut_after(to_client=after, new=False)
        await caller.speak(*range(turn * 20, turn * 20 + 20))
        await until(lambda: connections_made(at.lab) > before)  # noqa: B023
        await caller.hear_ack(turn * 20 + 19)
    check(at, name, 60, await caller.end())


def connections_made(lab: BrokerLab) -> int:
    """How many connections the broker has seen, but for those that ask."""
    with lab.client() as broker:
        stats: Any = broker.info("stats")
        asked = getattr(lab, "asked", 0) + 1
        lab.asked = asked  # type: ignore[attr-defined]
        return int(stats["total_connections_received"]) - asked


async def test_half_a_second_on_the_way_is_borne_by_batches(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    at.proxy.delay(to_server=0.25, to_client=0.25)
    caller = await Caller.dial(at.service.url)
    await caller.start(name)
    for seq in range(200):
        await caller.speak(seq)
        await asyncio.sleep(0.005)
    check(at, name, 200, await caller.end())


async def test_keys_that_are_evicted_one_by_one_cost_nothing(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    caller = await Caller.dial(at.service.url)
    await caller.start(name)
    seq = 0
    for key in ("rtaa:audio:{tenant-abc/%s}", "rtaa:interaction:{tenant-abc/%s}"):
        await caller.speak(seq, seq + 1)
        await caller.hear_ack(seq + 1)
        assert at.lab.forget(key % name) == 1
        seq += 2
    await caller.speak(seq, seq + 1)
    await caller.hear_ack(seq + 1)
    ledger = await caller.end()
    assert (ledger["published"], ledger["lost"]) == (6, 0)
    with at.lab.client() as broker:
        found = entries(broker, name)
        assert [i for i, _ in found] == [f"2-{position}" for position in range(8)]
        assert [int(e["seq"]) for _, e in found if e["type"] == "audio"] == list(range(6))


async def test_a_stream_that_is_broken_by_itself_neither_stops_the_others_nor_readiness(
    start_service: Any, name: str
) -> None:
    with BrokerLab() as lab:
        limits = {"BUFFER_SECONDS": "1", "DRAIN_SECONDS": "1"}  # it stops when the broker is gone
        service = start_service(REDIS_URL=lab.url, ACK_INTERVAL="1", **limits)
        broken, whole = [await Caller.dial(service.url) for _ in range(2)]
        await broken.start(f"{name}-broken")
        await whole.start(f"{name}-whole")
        with lab.client() as broker:
            key = f"rtaa:audio:{{tenant-abc/{name}-broken}}"
            broker.delete(key)
            broker.set(key, "not a stream")
            await broken.speak(0)
            await whole.speak(0)
            await whole.hear_ack(0)
            before = connections_made(lab)
            broker.client_kill_filter(_type="normal", skipme=True)  # all tails are asked for now
            await until(lambda: connections_made(lab) > before)
            await until(lambda: service.get("/health/ready")[0] == 200)
            assert await broken.closed() == 1013
            assert (await whole.end())["published"] == 1
            assert service.get("/health/ready")[0] == 200
            broker.delete(key)
            await until(lambda: facts(broker, f"{name}-broken").get("last_seq") == "0")


async def test_unreachable_at_start_is_live_not_ready_refuses_and_recovers(
    start_service: Any, name: str
) -> None:
    with BrokerLab() as lab:
        lab.kill()
        service = start_service(ready=False, REDIS_URL=lab.url)
        assert service.get("/health/live")[0] == 200
        assert service.get("/health/ready")[0] == 503
        dialling = asyncio.create_task(Caller.dial(service.url))  # waits up to 5 s
        await asyncio.wait([dialling], timeout=1.0)  # and is not refused within this one
        assert not dialling.done()
        await asyncio.to_thread(lab.start)
        caller = await dialling
        await caller.start(name)
        assert (await caller.end())["published"] == 0


async def test_a_name_that_cannot_be_resolved_is_told_and_does_not_stop_the_start(
    start_service: Any,
) -> None:
    service = start_service(ready=False, REDIS_URL="redis://broker.invalid:6379/0")
    assert service.get("/health/live")[0] == 200
    assert service.get("/health/ready")[0] == 503


def check_index(broker: redis.Redis, name: str, kind: str) -> None:
    """The last entry of a stream is announced, in the words of its own run."""
    found = entries(broker, name)
    (entry_id, last), (_, started) = found[-1], found[0]
    assert last["type"] == kind
    (notice,) = index(broker, name)
    assert (notice["type"], notice["entry"], notice["resumed"]) == (kind, entry_id, "0")
    assert notice["run"] == started["data"]["run"] == facts(broker, name)["run"]
    assert notice["event_id"] == f"tenant-abc/{name}/{entry_id}"


async def test_starts_and_ends_that_could_not_be_announced_are_announced_before_they_are_answered(
    site: Callable[..., Site], name: str
) -> None:
    at = site()
    ending, starting = [await Caller.dial(at.service.url) for _ in range(2)]
    await ending.start(f"{name}-ending")
    with at.lab.client() as broker:
        broker.delete("rtaa:interactions")
        broker.set("rtaa:interactions", "no stream")
        await ending.say({"event": "end"})
        await starting.start(f"{name}-starting", wait=False)
        await until(lambda: len(entries(broker, f"{name}-ending")) == 2)
        broker.delete("rtaa:interactions")
        await ending.hear("ended")
        check_index(broker, f"{name}-ending", "ended")
        await starting.hear("started")
        check_index(broker, f"{name}-starting", "started")
        assert (await starting.end())["published"] == 0
        assert len(entries(broker, f"{name}-starting")) == 2
