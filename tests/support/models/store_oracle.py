"""What a `StreamStore` should have, and legal appends to it: made by the rules of the domain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from application.ports.store import BEGINNING, Append, Mark
from domain.account import Account
from domain.entries import Ended, Entry, SignalNoted, Started
from domain.events import NEW_RUN, CallDetails, EndReason, Opening, Resume, Signal
from domain.fold import Fold, Segment
from domain.head import Access, Head, Lease, Revision
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat
from domain.starting import Begin, StartRequest, start

MEDIA = MediaFormat(8_000)
ODD_BYTES = b"\r\n\0$5\r\n*3\r\n\xff\xfe"

Placed = tuple[Mark, Entry]


def stream_key(name: str) -> StreamKey:
    return StreamKey(TenantId("tenant"), StreamId(name))


def opening(name: str, *, resume: bool = False) -> Opening:
    return Opening(
        stream_key(name),
        InteractionId(f"interaction-of-{name}"),
        "exostreamkit",
        MEDIA,
        1_700_000_000_123,
        Resume() if resume else NEW_RUN,
        CallDetails("call", "+1", None, {"a": "b"}),
    )


@dataclass
class Writer:
    """One process as a writer: it appends to a head that it is told."""

    token: str = "owner"
    counter: "count[int]" = field(default_factory=count)

    def revision(self) -> Revision:
        return f"{self.token}:{next(self.counter)}"

    def start(
        self, name: str, head: Head | None = None, *, resume: bool = False, now_ms: int = 0
    ) -> Append:
        owner = f"{self.token}-{next(self.counter)}"
        request = StartRequest(opening(name, resume=resume), owner, Access.TOKEN)
        begun = start(head, request, now_ms)
        assert isinstance(begun, Begin)
        after = Head(
            self.revision(), begun.lease, begun.begun_at, begun.run, begun.account, begun.first_kept
        )
        expected = None if head is None else head.revision
        return Append(stream_key(name), expected, begun.segments, after)

    def following(
        self,
        head: Head,
        act: Callable[[Fold], None] = lambda _: None,
        keep_from: Mark = BEGINNING,
    ) -> Append:
        """Append what `act` writes to the open run of a head."""
        assert head.run is not None
        fold = Fold(head.run, head.account)
        act(fold)
        segment = fold.segment(head.lease.generation)
        after = replace(
            head,
            revision=self.revision(),
            account=segment.account,
            first_kept=max(head.first_kept, keep_from.position),
            entries_lost=False,
        )
        segments = (segment,) if segment.entries else ()
        stream = head.run.opening.stream
        return Append(stream, head.revision, segments, after, keep_from)

    def speak(
        self, head: Head, frames: int = 1, *, size: int = 320, keep_from: Mark = BEGINNING
    ) -> Append:
        def act(fold: Fold) -> None:
            last = head.account.last_seq
            first = 0 if last is None else last + 1
            for seq in range(first, first + frames):
                audio = (ODD_BYTES + seq.to_bytes(8, "big")) * (size // 16 + 1)
                fold.take(AudioFrame(MEDIA, seq, 1_700_000_000_000 + seq, audio[:size]))

        return self.following(head, act, keep_from)

    def note(self, head: Head) -> Append:
        return self.following(
            head, lambda fold: fold.take(SignalNoted(Signal.DTMF, '{"digit":"\\u0000é"}'))
        )

    def cut(self, head: Head) -> Append:
        return self.following(head, Fold.cut)

    def end(self, head: Head) -> Append:
        return self.following(head, lambda fold: fold.end(EndReason.ENDED))


def joined(name: str, expected: Revision | None, appends: Sequence[Append]) -> Append:
    """Make one append of several that follow one another."""
    segments: tuple[Segment, ...] = tuple(it for append in appends for it in append.segments)
    return Append(stream_key(name), expected, segments, appends[-1].head)


def placed(append: Append) -> list[Placed]:
    """Return the entries of an append with their places."""
    found: list[Placed] = []
    position = append.head.next_position - sum(len(it.entries) for it in append.segments)
    for segment in append.segments:
        for entry in segment.entries:
            found.append((Mark(segment.generation, position), as_read(entry)))
            position += 1
    return found


def as_read(entry: Entry) -> Entry:
    """Return an entry as a reader finds it: of the continuation it is told whether it resumed."""
    if not isinstance(entry, Started):
        return entry
    continuation = Resume() if entry.resumed else NEW_RUN
    return replace(entry, opening=replace(entry.opening, continuation=continuation))


def _order(mark: Mark) -> tuple[int, int]:
    return mark.generation, mark.position


@dataclass
class Oracle:
    """One stream as a store should have it; None for a key that is gone."""

    head: Head | None = None
    entries: list[Placed] | None = None
    last: Mark = BEGINNING
    announced: list[str] = field(default_factory=list)

    @property
    def shown(self) -> Head | None:
        """The head that the store should answer."""
        if self.head is not None:
            if self.entries is not None:
                return self.head
            revision = f"lost!{self.head.revision}"
            return replace(self.head, revision=revision, entries_lost=True)
        return None if self.entries is None else self._head_of_entries(self.entries)

    def append(self, append: Append) -> bool:
        """Store an append if it is to be stored."""
        shown = self.shown
        if append.expected != (None if shown is None else shown.revision):
            return False
        begins = self.entries is None
        entries = [*(() if begins else self.entries or ()), *placed(append)]
        if placed(append):
            self.last = entries[-1][0]
        elif begins:
            self.last = Mark(append.head.lease.generation, append.head.next_position - 1)
        keep_from = append.keep_from
        self.entries = [it for it in entries if _order(it[0]) >= _order(keep_from)]
        self.head = append.head
        self.announced += [
            f"{append.stream}/{mark.generation}-{mark.position}"
            for mark, entry in placed(append)
            if isinstance(entry, Started | Ended)
        ]
        return True

    def _head_of_entries(self, entries: list[Placed]) -> Head:
        last = self.last
        return Head(
            f"last!{last.generation}-{last.position}",
            Lease(last.generation, "", 0),
            0,
            None,
            Account(last.position + 1),
            first_kept=entries[0][0].position if entries else last.position + 1,
            account_lost=True,
        )
