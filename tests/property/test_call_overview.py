"""The overview of all calls, against an oracle that keeps everything that happened in lists."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from overview_bench import SPEECH, OverviewBench

from application.overview.answers import answer
from application.overview.call import STILL_SECONDS
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.words import Tone
from application.ports.clock import Instant
from application.ports.reader import Announcement, Newest, PublishedEntry
from application.ports.store import Append
from application.store_kit.storing import announcements_of, entries_of
from application.testing.appends import begin, cut, following
from domain.identifiers import StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat
from examples import examples

EPOCH_MS = 1_800_000_000_000
MEDIA = MediaFormat(8_000)
KEYS = [StreamKey(TenantId(f"t{n % 2}"), StreamId(f"call-{n}")) for n in range(4)]
MAX_LIVE, MAX_OVER = 2, 1

ACTS = ("start", "start", "start", "speak", "speak", "skip", "skip", "cut", "end", "end", "expire",
        "look", "look", "look", "wait")  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, len(KEYS) - 1), st.integers(1, 40)),
    min_size=10,
    max_size=60,
)


@dataclass
class World:
    """The store as it is, and what an honest list would say of it."""

    now: float = 100.0
    heads: dict[StreamKey, Append] = field(default_factory=dict)
    last: dict[StreamKey, PublishedEntry] = field(default_factory=dict)
    spoke_at: dict[StreamKey, float] = field(default_factory=dict)
    seqs: dict[StreamKey, int] = field(default_factory=dict)
    announced: list[Announcement] = field(default_factory=list)

    @property
    def instant(self) -> Instant:
        return Instant(self.now, EPOCH_MS + round(self.now * 1_000))

    def put(self, append: Append) -> None:
        self.heads[append.stream] = append
        entries = entries_of(append)
        if entries:
            self.last[append.stream] = entries[-1]
        self.announced += announcements_of(append)

    def is_open(self, key: StreamKey) -> bool:
        return key in self.heads and self.heads[key].head.is_open

    def act(self, what: str, key: StreamKey, number: int) -> None:
        head = self.heads[key].head if key in self.heads else None
        if what == "start":
            self.seqs[key] = 0
            self.spoke_at.pop(key, None)
            self.put(begin(key, head))
        elif what == "wait":
            self.now += number / 4
        elif what == "expire":
            for of in (self.heads, self.last, self.spoke_at):
                of.pop(key, None)
        elif head is not None and self.is_open(key):
            if what in {"speak", "skip"}:
                self.seqs[key] += number if what == "skip" else 0
                frame = AudioFrame(MEDIA, self.seqs[key], self.instant.epoch_ms, bytes(320))
                self.seqs[key] += 1
                self.spoke_at[key] = self.now
                self.put(following(head, frame))
            elif what == "cut":
                self.put(cut(head))
            elif what == "end":
                self.put(following(head, end=True))


class Looked:
    """The overview, fed as the follower feeds it."""

    def __init__(self, world: World, max_live: int = 99, max_over: int = 99) -> None:
        self.world = world
        self.overview = CallOverview(max_live, max_over)
        self._heard = 0

    def hear(self) -> None:
        for announced in self.world.announced[self._heard :]:
            self.overview.announced(announced, self.world.instant)
        self._heard = len(self.world.announced)
        self.overview.has_index = True
        self.overview.heard(self.world.instant)

    def look(self, key: StreamKey) -> None:
        if key in self.world.heads:
            newest = Newest(self.world.heads[key].head, self.world.last.get(key))
            self.overview.looked(key, newest, self.world.instant)
        else:
            self.overview.absent(key, self.world.instant)


@settings(max_examples=examples(200))
@given(STEPS)
def test_once_each_call_is_looked_at_all_figures_are_those_of_the_store(
    steps: list[tuple[str, int, int]],
) -> None:
    world = World()
    looked = Looked(world)
    for what, index, number in steps:
        if what == "look":
            looked.hear()
            looked.look(KEYS[index])
        elif what == "wait":
            for _ in range(number):  # the store answers all the time
                world.act("wait", KEYS[index], 1)
                looked.overview.heard(world.instant)
        else:
            world.act(what, KEYS[index], number)
    looked.hear()
    for key in KEYS:
        looked.look(key)
    overview = looked.overview
    live = {key for key in world.heads if world.is_open(key)}
    assert {call.stream for call in overview.live} == live
    for key in live:
        call, head = overview.call(key), world.heads[key].head
        assert call is not None
        assert head.run is not None
        assert call.ledger == head.account.ledger
        assert call.run == head.run.name
        assert call.condition.value in {head.account.state.value, "waiting", "flowing", "still"}
        if key in world.spoke_at and head.account.state.value == "live":
            silent = world.now - world.spoke_at[key]
            assert call.condition is (
                Condition.STILL if silent >= STILL_SECONDS else Condition.FLOWING
            )
            assert call.frame_age(world.instant) is not None
    told = answer(overview, world.instant)
    is_missing = any(world.heads[key].head.account.ledger.missing for key in live)
    assert (told.complete.tone is Tone.BAD) or not is_missing
    assert (
        told.arriving.text.partition(" with audio")[0].endswith(
            f"of {len(live)} call" + "s" * (len(live) != 1)
        )
        or not live
    )
    for tenant, count in Counter(key.tenant_id for key in live).items():
        assert f"{tenant} {count}" in told.calling.text
    still = [call for call in overview.live if call.condition is Condition.STILL]
    assert any("without audio" in it.text for it in told.wrong) is bool(still)
    assert any(" cut" in it.text for it in told.wrong) is any(
        world.heads[key].head.account.state.value == "cut" for key in live
    )


@settings(max_examples=examples(100))
@given(STEPS)
def test_it_is_bounded_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    world = World()
    looked = Looked(world, MAX_LIVE, MAX_OVER)
    for what, index, number in steps:
        world.act(what, KEYS[index], number)
        looked.hear()
        looked.look(KEYS[index])
        overview = looked.overview
        assert len(overview.live) <= MAX_LIVE
        assert len(overview.over) <= MAX_OVER
        assert overview.unfollowed <= MAX_LIVE
        assert not {call.stream for call in overview.live} & {it.stream for it in overview.over}
        selected = overview.select("", 3)
        assert len(selected.shown) == min(3, selected.matching)
        assert selected.matching == len(overview.calls)


@settings(max_examples=examples(100))
@given(st.lists(st.tuples(st.sampled_from(["heard", "failed", "wait"]), st.integers(1, 9))))
def test_an_outage_is_as_long_as_the_store_did_not_answer(steps: list[tuple[str, int]]) -> None:
    overview, now = CallOverview(), 10.0
    answered_at: float | None = None
    is_failing = False
    for what, seconds in steps:
        instant = Instant(now, round(now * 1_000))
        if what == "wait":
            now += seconds
        elif what == "heard":
            overview.heard(instant)
            answered_at, is_failing = now, False
        else:
            overview.failed("why", instant)
            answered_at, is_failing = (now if answered_at is None else answered_at), True
        away = overview.away_seconds(Instant(now, round(now * 1_000)))
        if is_failing:
            assert answered_at is not None
            assert away == now - answered_at
            assert overview.outages[-1].until_ms is None
        elif away is not None:
            assert answered_at is not None
            assert away >= 3.0
        assert all(it.until_ms is not None for it in list(overview.outages)[:-1])


@given(st.sets(st.sampled_from(KEYS)), st.sampled_from(["t0", "t1", "call-3", "CALL", "nothing"]))
def test_a_selection_has_the_calls_with_the_words(keys: set[StreamKey], word: str) -> None:
    world = World()
    for key in keys:
        world.act("start", key, 1)
    looked = Looked(world)
    looked.hear()
    found = {call.stream for call in looked.overview.select(word, 99).shown}
    assert found == {key for key in keys if word.lower() in str(key)}


def test_a_stream_that_is_gone_without_an_end_is_told_if_it_was_seen() -> None:
    world = World()
    world.act("start", KEYS[0], 1)
    world.act("start", KEYS[1], 1)
    looked = Looked(world)
    looked.hear()
    looked.look(KEYS[0])
    for key in KEYS[:2]:
        world.act("expire", key, 1)
        looked.look(key)
    (gone,) = looked.overview.over  # the other had expired before it was looked at
    assert (gone.stream, gone.condition) == (KEYS[0], Condition.GONE)
    told = answer(looked.overview, world.instant)
    assert [it.text for it in told.wrong] == [
        "nothing now",
        "1 call gone from the store without an end, the last 0 s ago",
    ]
    assert not looked.overview.live


def test_a_run_that_a_look_finds_before_the_index_tells_of_it_begins_without_a_past() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH, 2)
    bench.look()
    bench.now += 60
    bench.is_announced = False
    bench.start()
    bench.look()
    assert bench.call.condition is Condition.WAITING
    assert not bench.call.is_mute
    bench.hear(SPEECH)
    bench.look()
    assert bench.call.condition is Condition.FLOWING
    assert bench.call.latency_ms == 0
