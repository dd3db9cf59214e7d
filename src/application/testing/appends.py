"""Makes appends by the pure rules, from any head that a stream has or had."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import shake_128
from itertools import count
from secrets import token_hex

from application.ports.store import BEGINNING, Append, Mark
from domain.account import State
from domain.entries import Entry, Started
from domain.events import NEW_RUN, CallDetails, EndReason, Opening, Resume
from domain.fold import Fold, Segment
from domain.head import Access, Head, Revision
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat
from domain.starting import Begin, StartRequest, start

MEDIA = MediaFormat(8_000)
_writer = token_hex(4)
_revisions = count(1)


def revision() -> Revision:
    """Return a name that was never used before."""
    return f"{_writer}-{next(_revisions)}"


def stream(name: str, tenant: str = "tenant") -> StreamKey:
    """Return a stream by name."""
    return StreamKey(TenantId(tenant), StreamId(name))


def opening(key: StreamKey, *, resumes: bool = False, media: MediaFormat = MEDIA) -> Opening:
    """Return an opening with all details of a carrier."""
    call = CallDetails("CA-1", "+100", None, {"queue": "ä \u2028"})
    continuation = Resume() if resumes else NEW_RUN
    name = InteractionId(key.stream_id)
    return Opening(key, name, "exostreamkit", media, 1_700_000_000_123, continuation, call)


def begin(
    key: StreamKey, head: Head | None, *, resumes: bool = False, media: MediaFormat = MEDIA
) -> Append:
    """Start a generation after a head."""
    request = StartRequest(
        opening(key, resumes=resumes, media=media), token_hex(8), Access.OPEN, waited_ms=0
    )
    decision = start(head, request, now_ms=1_700_000_000_000)
    if not isinstance(decision, Begin):
        raise TypeError(f"the start is not granted: {decision}")
    after = Head(
        revision(),
        decision.lease,
        decision.begun_at,
        decision.run,
        decision.account,
        decision.first_kept,
    )
    return Append(key, None if head is None else head.revision, decision.segments, after)


def begin_with(key: StreamKey, *entries: Entry, media: MediaFormat = MEDIA) -> Append:
    """Start an unknown stream, with entries after its start."""
    first = begin(key, None, media=media)
    rest = following(first.head, *entries)
    return replace_append(first, segments=(*first.segments, *rest.segments), head=rest.head)


def following(
    head: Head, *entries: Entry, keep_from: Mark = BEGINNING, end: bool = False
) -> Append:
    """Write entries, and perhaps the end, after a head with an open run, under its lease."""
    if head.run is None:
        raise ValueError("the head has no run")
    fold = Fold(head.run, head.account)
    for entry in entries:
        fold.take(entry)
    if end:
        fold.end(EndReason.ENDED)
    segment = fold.segment(head.lease.generation)
    first_kept = max(head.first_kept, keep_from.position)
    after = replace(head, revision=revision(), account=segment.account, first_kept=first_kept)
    segments = (segment,) if segment.entries else ()
    return Append(head.run.opening.stream, head.revision, segments, after, keep_from)


def with_generations(key: StreamKey, number: int) -> Append:
    """Return one append of many generations, each of which ends the previous run."""
    whole = begin(key, None)
    for _ in range(number - 1):
        after = begin(key, whole.head)
        segments = (*whole.segments, *after.segments)
        whole = replace_append(whole, segments=segments, head=after.head)
    return whole


def cut(head: Head) -> Append:
    """Write a head alone: the run is without its sender."""
    append = following(head)
    account = replace(append.head.account, state=State.CUT)
    return replace_append(append, head=replace(append.head, account=account))


def replace_append(
    append: Append,
    *,
    segments: Sequence[Segment] | None = None,
    head: Head | None = None,
    keep_from: Mark | None = None,
) -> Append:
    """Return another append."""
    return Append(
        append.stream,
        append.expected,
        append.segments if segments is None else segments,
        append.head if head is None else head,
        append.keep_from if keep_from is None else keep_from,
    )


def frame(key: StreamKey, seq: int, *, size: int = 320, media: MediaFormat = MEDIA) -> AudioFrame:
    """Return a frame whose bytes no other frame of any stream has."""
    audio = shake_128(f"{key} {seq}".encode()).digest(size)
    return AudioFrame(media, seq, 1_700_000_000_456 + seq, audio)


def frames(key: StreamKey, first: int, number: int) -> list[AudioFrame]:
    """Return frames in a row."""
    return [frame(key, seq) for seq in range(first, first + number)]


def as_stored(head: Head | None) -> Head | None:
    """Return a head without the part that a store need not keep: how its opening was requested."""
    if head is None or head.run is None:
        return head
    plain = replace(head.run.opening, continuation=NEW_RUN)
    return replace(head, run=replace(head.run, opening=plain))


def as_published(entry: Entry) -> Entry:
    """Return an entry without the parts that a store need not keep."""
    if isinstance(entry, Started):
        return replace(entry, opening=replace(entry.opening, continuation=NEW_RUN))
    return entry
