"""What leaves a log in appends, against a list of all that was put; and what is acked of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from log_bench import LogBench, entries_of
from stream_model import LOST, ModelStore, Stored
from stream_parts import Walk, frame, started

from application.delivery.live_stream import LiveStream
from application.delivery.retained import BATCH_BYTES, BATCH_ENTRIES
from application.ports.store import Append
from domain.entries import Entry, Gap, Started
from domain.events import EndReason, Resume, Signal
from domain.media import AudioFrame
from examples import examples

Step = tuple[str, int]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.sampled_from([2, 320, 3_200, 100_000])),
        st.tuples(st.just("skip"), st.integers(1, 9)),
        st.tuples(st.just("burst"), st.integers(1, 150)),
        st.tuples(st.sampled_from(["repeat", "refuse", "note", "account"]), st.just(0)),
        st.tuples(st.sampled_from(["take", "take", "confirm", "confirm"]), st.just(0)),
        st.tuples(st.sampled_from(["fail", "answer lost", "doubt"]), st.just(0)),
    ),
    max_size=60,
)


@dataclass
class Told:
    """All that was put, and what was counted beside it."""

    bench: LogBench
    entries: list[Entry] = field(default_factory=list)
    seq: int = -1
    in_flight: Append | None = None

    def hear(self, ahead: int, size: int) -> None:
        if ahead > 1 and self.seq >= 0:
            self.entries.append(Gap(self.seq + 1, ahead - 1))
        self.seq += ahead
        self.entries.append(frame(self.seq, size))
        self.bench.hear(self.seq, size=size)

    def take(self) -> None:
        if self.in_flight is not None:
            assert self.bench.log.take() is None
            return
        work = self.bench.log.take()
        if isinstance(work, Append):
            self.check(work)
            self.in_flight = work
        elif work is not None:
            self.bench.answer_probe()

    def check(self, append: Append) -> None:
        """It has the next entries, the account after exactly those, and no more than it may."""
        entries, account = entries_of(append), append.head.account
        stored = len(self.bench.stored())
        first = account.next_position - len(entries)
        assert first <= stored <= account.next_position
        everything = [started(), *self.entries]
        assert entries == everything[first : account.next_position]
        walk = Walk()
        walk.take_all(everything[: account.next_position])
        assert len(entries) <= BATCH_ENTRIES + 1
        size = sum(len(entry.audio) for entry in entries if isinstance(entry, AudioFrame))
        assert size < BATCH_BYTES + 100_000
        ledger = account.ledger
        assert ledger == walk.ledger(ledger.duplicate, ledger.rejected)
        assert (account.first_seq, account.last_seq) == (walk.first_seq, walk.last_seq)

    def answer(self, fate: str) -> None:
        append, self.in_flight = self.in_flight, None
        if append is None:
            return
        if fate == "confirm":
            self.bench.answer(append)
            assert self.bench.here.published == append.head.account
            return
        if fate == "answer lost":
            self.bench.store.append(append)
        self.bench.log.settle_append(LOST)

    def step(self, verb: str, number: int) -> None:  # noqa: C901  # a verb a case
        here = self.bench.here.interaction
        match verb:
            case "hear":
                self.hear(1, number)
            case "skip":
                self.hear(1 + number, 320)
            case "burst":
                for _ in range(number):
                    self.hear(1, 320)
            case "repeat" if self.seq >= 0:
                self.bench.hear(self.seq)
            case "refuse":
                here.refuse()
            case "note":
                self.entries.append(here.note(Signal.DTMF, "{}"))
                self.bench.put(self.entries[-1])
            case "account":
                self.bench.log.put_account(self.bench.here)
            case "take":
                self.take()
            case "doubt":
                self.bench.doubt()
            case "confirm" | "fail" | "answer lost":
                self.answer(verb)


async def play(steps: Sequence[Step]) -> None:
    bench = LogBench()
    bench.start()
    told = Told(bench)
    for verb, number in steps:
        told.step(verb, number)
        confirmed = bench.here.published.next_position
        waiting = [started(), *told.entries][confirmed:]
        audio = sum(len(it.audio) for it in waiting if isinstance(it, AudioFrame))
        details = sum(2 for it in waiting if not isinstance(it, AudioFrame | Gap | Started))
        assert bench.unconfirmed == audio + details
    told.answer("confirm")
    bench.log.put_account(bench.here)
    bench.settle()
    assert bench.stored()[1:] == told.entries
    assert bench.account == bench.here.interaction.account(1 + len(told.entries))
    assert bench.unconfirmed == 0


@settings(max_examples=examples(150))
@given(STEPS)
async def test_each_append_has_the_account_after_exactly_its_own_entries(
    steps: list[Step],
) -> None:
    await play(steps)


# Acks

LIVES = st.lists(
    st.one_of(
        st.tuples(st.just("speak"), st.integers(0, 1), st.sampled_from([1, 3, 127, 128, 140])),
        st.tuples(
            st.sampled_from(["send", "send", "send", "send late", "settle"]),
            st.integers(0, 1),
            st.just(0),
        ),
        st.tuples(
            st.sampled_from(["start", "resume", "cut", "end"]), st.integers(0, 1), st.just(0)
        ),
        st.tuples(
            st.sampled_from(["wipe", "roll back", "evict entries", "arrive late"]),
            st.just(0),
            st.integers(1, 4),
        ),
    ),
    min_size=8,
    max_size=50,
)


class Hearing:
    """A session that looks into the store whenever something is confirmed to it.

    Its run continues under another name if an older writer has ended it.
    """

    def __init__(self, store: ModelStore, live: LiveStream) -> None:
        self.store = store
        self.live = live
        self.runs = {live.run.name}
        self.is_fenced = False

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        assert frames >= 0
        self.runs.add(self.live.run.name)
        if last_seq is not None:
            assert last_seq in told_of(self.store.now, self.runs)

    def on_fenced(self) -> None:
        assert not self.is_fenced
        self.is_fenced = True

    def on_stalled(self) -> None:
        raise AssertionError


def told_of(stored: Stored, runs: set[str]) -> set[int]:
    """Return the seqs of these runs that are published or declared in the store.

    Where the entries were evicted a gap may come before the first start that is left.
    """
    seqs: set[int] = set()
    is_theirs = True
    for _, entry in stored.entries:
        if isinstance(entry, Started):
            is_theirs = entry.run in runs
        elif is_theirs and isinstance(entry, AudioFrame):
            seqs.add(entry.seq)
        elif is_theirs and isinstance(entry, Gap):
            seqs |= set(range(entry.first_missing, entry.last_missing + 1))
    return seqs


class Life:
    """Two processes that write one stream; each sender numbers its frames in a range of its own."""

    def __init__(self) -> None:
        self.first = LogBench("a")
        self.benches = [self.first, LogBench("b", beside=self.first)]
        self.seqs = {bench.name: 1_000 * index for index, bench in enumerate(self.benches)}

    def take(self, verb: str, process: int, number: int) -> None:
        bench = self.benches[process]
        match verb:
            case "speak":
                self.speak(bench, number)
            case "send":
                bench.step()
            case "send late":
                bench.step("late")
            case "settle":
                bench.settle()
            case "start" | "resume":
                bench.settle()
                self.start(bench, is_resuming=verb == "resume")
            case "cut" if is_writing(bench):
                bench.cut()
            case "end" if is_writing(bench):
                bench.put(*bench.here.interaction.end(EndReason.ENDED))
            case "wipe" | "roll back" | "evict entries" | "arrive late":
                self.change_store(verb, number)

    def change_store(self, verb: str, number: int) -> None:
        store = self.first.store
        match verb:
            case "wipe":
                store.wipe()
            case "roll back":
                store.roll_back(number)
            case "evict entries":
                store.evict_entries()
            case "arrive late":
                store.arrive_late()
        for bench in self.benches:
            bench.doubt()

    def start(self, bench: LogBench, *, is_resuming: bool) -> None:
        pending = bench.request(Resume()) if is_resuming else bench.request()
        bench.settle()
        live = bench.adopt(pending)
        live.listener = Hearing(bench.store, live)

    def speak(self, bench: LogBench, frames: int) -> None:
        if not is_writing(bench):
            return
        first = max(self.seqs[bench.name], bench.here.interaction.unnumbered_seq)
        self.seqs[bench.name] = first + frames
        bench.hear(*range(first, first + frames))


def is_writing(bench: LogBench) -> bool:
    live = bench.live
    return live is not None and not live.is_fenced and live.interaction.state == "live"


@settings(max_examples=examples(150))
@given(LIVES)
async def test_what_is_acked_is_in_the_store_or_declared_there(
    life: list[tuple[str, int, int]],
) -> None:
    lived = Life()
    for verb, process, number in life:
        lived.first.clock.now += 0.01
        lived.take(verb, process, number)
    for _ in range(6):
        lived.first.store.late.clear()
        for bench in lived.benches:
            bench.doubt()
            bench.settle()
            assert bench.log.is_empty
            assert bench.unconfirmed == 0
