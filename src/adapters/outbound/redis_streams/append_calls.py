"""An append as a call of `append.lua`, which is short if little changes.

Arguments and reply of the script:

    KEYS  1 stream · 2 head
    ARGV  none: only answer with the state of the stream. Else
          1 milliseconds to live · 2 revision expected, '' for no stream · 3 revision · 4 next
          5 ledger · 6 last_seq or '' · 7 id below which entries are removed, or ''
          8 generation and 9 position of the first entry
          10 how many arguments name other fields, 0 if the head has them: field · value · ...
          then for each entry: 'audio' · seq · received_at_ms · audio
                            or type · generation · what is to be announced of it or '' · data
    Reply 1, or an error and nothing is changed, or the state of the stream:
       {whether its entries are there (1/0), the head, XINFO STREAM if there is no head}
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adapters.brokers.data import data_of
from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.announcements import Notice
from adapters.outbound.redis_streams.entries import entry_id
from adapters.outbound.redis_streams.heads import (
    ACCOUNT_LOST,
    fields_of_start,
    ledger_json,
    other_fields,
)
from adapters.outbound.redis_streams.resp import Command, Parts, pack
from adapters.outbound.redis_streams.scripts import SCRIPTS
from application.ports.store import BEGINNING, Append, Mark
from domain.account import State
from domain.entries import Ended, Entry, Started
from domain.fold import Segment
from domain.head import Revision
from domain.identifiers import StreamKey
from domain.media import AudioFrame

_SCRIPT = SCRIPTS["append"]

_ARGUMENTS = 15
"""Arguments of a call that names no other fields and has no entries, the command included."""

_ENTRY_ARGUMENTS = 4

MAX_SENT = 16_384
"""The number of streams whose last sent state is remembered, some 800 bytes each."""


class _Begun(NamedTuple):
    """The facts of a `Started` about its generation."""

    generation: int
    run: str
    resumed: bool


@dataclass(slots=True)
class _Sent:
    """The last sent state of a stream: its revision, and the rarely changing part of its head.

    A revision names one state: a stream that has this revision has these fields. A head does not
    tell whether its generation resumed, so that is remembered of the `Started` sent last.
    """

    prefix: bytes
    revision: Revision | None = None
    seldom: tuple[Any, ...] = ()
    begun: _Begun | None = None


@dataclass(slots=True)
class _Noted:
    """The effects of entries other than audio on the head and on the index."""

    notices: list[Notice] = field(default_factory=list)
    started: Command = ()
    begun: _Begun | None = None


class AppendCalls:
    """Writes calls, and remembers the last sent state of each stream."""

    def __init__(self, prefix: str, ttl_ms: int) -> None:
        self._prefix = prefix
        self._ttl_ms = ttl_ms
        self._sent: dict[StreamKey, _Sent] = {}

    def read(self, stream: StreamKey) -> Command:
        """Write a call that only reads the head of a stream."""
        return _SCRIPT.call(self._keys(stream), ())

    def write(self, append: Append) -> tuple[Parts, Sequence[Notice]]:
        """Write the call of an append; return it with its announcements, due once it is stored."""
        head = append.head
        account = head.account
        sent = self._sent.get(append.stream) or self._remember(append.stream)
        parts = [b"", sent.prefix, b""]  # the first and the third depend on the entries
        count = 0
        for segment in append.segments:
            count += len(segment.entries)
        first_position = account.next_position - count
        noted = _add_entries(parts, append, first_position)
        if noted is not None and noted.begun is not None:
            sent.begun = noted.begun
        seldom = (
            head.lease, head.run, head.begun_at, head.first_kept, append.keep_from,
            account.first_seq, account.last_seq is None, account.state,
        )  # fmt: skip
        other: Command = ()
        keep_from = ""
        if sent.revision != append.expected or sent.seldom != seldom:
            other = (*other_fields(head), *_start_of(append, noted, sent.begun))
            if append.keep_from != BEGINNING:
                keep_from = entry_id(append.keep_from)
            sent.seldom = seldom
        sent.revision = head.revision
        if account.state is State.ENDED:
            del self._sent[append.stream]
        parts[0] = b"*%d\r\n" % (_ARGUMENTS + len(other) + _ENTRY_ARGUMENTS * count)
        parts[2] = _pack_arguments(
            (
                append.expected or "",
                head.revision,
                account.next_position,
                ledger_json(account.ledger),
                "" if account.last_seq is None else account.last_seq,
                keep_from,
                append.segments[0].generation if append.segments else head.lease.generation,
                first_position,
                len(other),
                *other,
            )
        )
        return parts, () if noted is None else noted.notices

    def _keys(self, stream: StreamKey) -> tuple[str, str]:
        return layout.stream_key(self._prefix, stream), layout.facts_key(self._prefix, stream)

    def _remember(self, stream: StreamKey) -> _Sent:
        if len(self._sent) >= MAX_SENT:
            self._sent.clear()
        prefix = _pack_arguments(_SCRIPT.call(self._keys(stream), (self._ttl_ms,)))
        sent = self._sent[stream] = _Sent(prefix)
        return sent


def _add_entries(parts: Parts, append: Append, position: int) -> _Noted | None:
    """Write the entries; return their effects, None if all are audio.

    Raises:
        ValueError: a generation is below the one before it, or begins with audio.

    """
    noted: _Noted | None = None
    generation = 0
    for segment in append.segments:
        if segment.generation != generation and generation:
            first = segment.entries[0] if segment.entries else None
            if segment.generation < generation or isinstance(first, AudioFrame):
                raise ValueError("generations grow, and each begins with its Started")
        generation = segment.generation
        for entry in segment.entries:
            if type(entry) is AudioFrame:
                add_audio(parts, entry.seq, entry.received_at_ms, entry.audio)
            else:
                noted = noted or _Noted()
                _add_other(parts, noted, segment, Mark(generation, position), entry)
            position += 1
    return noted


def _add_other(parts: Parts, noted: _Noted, segment: Segment, mark: Mark, entry: Entry) -> None:
    """Write an entry other than audio."""
    kind, data = data_of(entry)
    announced = ""
    if isinstance(entry, Started | Ended):
        notice = _notice_of(segment, mark, entry)
        noted.notices.append(notice)
        announced = notice.mark_value
    if isinstance(entry, Started):
        noted.started = fields_of_start(data, entry.opening.continuation)
        noted.begun = _Begun(mark.generation, entry.run, entry.resumed)
    parts.append(_pack_arguments((kind, mark.generation, announced, data)))


def _notice_of(segment: Segment, mark: Mark, entry: Started | Ended) -> Notice:
    return Notice(
        segment.run.opening.stream,
        segment.run.opening.interaction_id,
        mark.generation,
        mark.position,
        has_ended=isinstance(entry, Ended),
        run=segment.run.name,
        resumed=isinstance(entry, Started) and entry.resumed,
    )


def _start_of(append: Append, noted: _Noted | None, begun: _Begun | None) -> Command:
    """Return the fields of the latest `Started`; none if they are there and stay.

    `begun` is that of the last one sent. Without it the lease decides: a start that begins a run
    uses its own token as the name of the run.
    """
    if noted is not None and noted.started:
        return noted.started
    head, expected = append.head, append.expected
    has_head = expected is not None and not expected.startswith(ACCOUNT_LOST)
    if has_head or head.run is None:
        return ()
    generation, run = head.lease.generation, head.run
    resumed = head.lease.owner != run.name
    if begun is not None and (begun.generation, begun.run) == (generation, run.name):
        resumed = begun.resumed
    started = Started(generation, run.name, resumed, run.opening)
    return fields_of_start(data_of(started)[1], run.opening.continuation)


def add_audio(parts: Parts, seq: int, received_at_ms: int, audio: bytes) -> None:
    """Write the four arguments of a frame."""
    number, at = b"%d" % seq, b"%d" % received_at_ms
    parts += (
        b"$5\r\naudio\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n"
        % (len(number), number, len(at), at, len(audio)),
        audio,
        b"\r\n",
    )


def _pack_arguments(arguments: Command) -> bytes:
    """Write arguments of a command, without saying how many it has."""
    packed = pack(arguments)
    return packed[packed.index(b"\n") + 1 :]
