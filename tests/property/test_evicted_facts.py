"""What the hash of a stream says of its start after it was evicted: what the `Started` says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import hiredis
from hypothesis import example, given
from hypothesis import strategies as st
from stream_parts import STREAM, frame, opening

from adapters.brokers.data import data_of
from adapters.outbound.redis_streams.append_calls import AppendCalls
from adapters.outbound.redis_streams.heads import ACCOUNT_LOST
from application.ports.store import Append
from domain.account import Account
from domain.entries import Started
from domain.events import NEW_RUN, Continuation, Resume, ResumeAbove
from domain.fold import Fold, Segment
from domain.head import Access, Head, Lease
from domain.rebase import HeldRun, rebase
from domain.starting import Begin, StartRequest, start

CONTINUATIONS: list[Continuation] = [NEW_RUN, Resume(), ResumeAbove(9), ResumeAbove(0)]


@dataclass
class Process:
    """Writes one stream, as the rules say; `appends` is all that it has sent."""

    appends: list[Append] = field(default_factory=list)

    @property
    def head(self) -> Head | None:
        return self.appends[-1].head if self.appends else None

    @property
    def started(self) -> Started:
        """The latest `Started` that was sent."""
        entries = [it for of in self.appends for part in of.segments for it in part.entries]
        return [it for it in entries if isinstance(it, Started)][-1]

    def start(self, continuation: Continuation) -> None:
        owner = f"owner{len(self.appends)}"
        request = StartRequest(opening(continuation), owner, Access.OPEN)
        begun = start(self.head, request, len(self.appends))
        assert isinstance(begun, Begin)
        self._send(begun.segments, begun.lease, begun.begun_at)
        self.speak()

    def speak(self) -> None:
        head = self.head
        assert head is not None
        assert head.run is not None
        fold = Fold(head.run, head.account)
        fold.take(frame((head.account.last_seq or 0) + 5))
        self._send([fold.segment(head.lease.generation)], head.lease, head.begun_at)

    def rebase(self, *, holds_all: bool) -> None:
        """Write it again, to a store that lost it."""
        head = self.head
        assert head is not None
        assert head.run is not None
        segments = [it for of in self.appends for it in of.segments]
        held = [it for it in segments if it.run.name == head.run.name]
        run = HeldRun(head.run, head.account, ())
        if holds_all:
            run = HeldRun(head.run, Account(), held)
        rebased = rebase(None, [run], head.lease.rebased(f"rebase{len(self.appends)}"))
        written = [it.segment for it in rebased.written]
        self._send(written, rebased.lease, rebased.written[-1].begun_at)
        self.speak()

    def _send(self, parts: Sequence[Segment], lease: Lease, begun_at: int) -> None:
        last = parts[-1]
        expected = None if self.head is None else self.head.revision
        head = Head(f"r{len(self.appends)}", lease, begun_at, last.run, last.account)
        self.appends.append(Append(STREAM, expected, parts, head))


def told(calls: AppendCalls, append: Append) -> dict[bytes, bytes]:
    """Return the fields of the hash that a call names."""
    reader = hiredis.Reader()
    reader.feed(b"".join(calls.write(append)[0]))
    arguments = reader.gets()[5:]
    names = arguments[10 : 10 + int(arguments[9])]
    return dict(zip(names[::2], names[1::2], strict=True))


def after_eviction(process: Process) -> Append:
    process.speak()
    last = process.appends.pop()
    return Append(STREAM, f"{ACCOUNT_LOST}1-1", last.segments, last.head)


STARTS = st.lists(st.sampled_from(CONTINUATIONS), min_size=1, max_size=4)
REBASES = st.none() | st.booleans()


@given(STARTS, REBASES)
@example([Resume()], None)
@example([NEW_RUN, ResumeAbove(9)], None)
@example([NEW_RUN], True)
def test_a_hash_that_was_evicted_says_again_what_the_started_says(
    continuations: list[Continuation], holds_all: bool | None
) -> None:
    process = Process()
    for continuation in continuations:
        process.start(continuation)
    if holds_all is not None:
        process.rebase(holds_all=holds_all)
    calls = AppendCalls("rtaa", 1_000)
    for append in process.appends:
        calls.write(append)
    fields = told(calls, after_eviction(process))
    assert fields[b"started"] == data_of(process.started)[1]


@given(STARTS)
def test_what_a_process_sent_and_remembers_no_more_follows_from_the_lease(
    continuations: list[Continuation],
) -> None:
    process = Process()
    for continuation in continuations:
        process.start(continuation)
    fields = told(AppendCalls("rtaa", 1_000), after_eviction(process))
    assert fields[b"started"] == data_of(process.started)[1]


def test_a_start_that_was_sent_and_never_stored_tells_nothing_of_the_one_before_it() -> None:
    process = Process()
    process.start(NEW_RUN)
    calls = AppendCalls("rtaa", 1_000)
    for append in process.appends:
        calls.write(append)
    given_up = Process([*process.appends])
    given_up.start(Resume())
    calls.write(given_up.appends[-2])
    fields = told(calls, after_eviction(process))
    assert fields[b"started"] == data_of(process.started)[1]
