"""`StreamStore` over JetStream: an append is one message with an expected last sequence.

The server compares the sequence of the last message of a stream's subjects with the one that the
writer expects. The writer knows it from its last ack, so an append asks for nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from adapters.outbound.nats_jetstream import messages, requests
from adapters.outbound.nats_jetstream.access import Access, time_of
from adapters.outbound.nats_jetstream.failures import (
    WRITE_IN_PROCESS,
    WRONG_LAST_SEQUENCE,
    no_responders,
    not_jetstream,
    told,
)
from adapters.outbound.nats_jetstream.protocol import Reply, Request
from application.backoff import Backoff
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.store import (
    APPENDED,
    Append,
    Conflict,
    Failed,
    Heads,
    Outcome,
    StreamStore,
)
from domain.head import Head, Revision
from domain.identifiers import StreamKey

MAX_KNOWN = 16_384
"""The number of streams whose last sequence is remembered."""

PAGE = 16
"""Heads that are read in one round trip. Each comes with its message, of up to 700 kB: a server
closes a connection for which it holds 64 MB."""

ATTEMPTS = 4
FIRST_AGAIN_SECONDS, MAX_AGAIN_SECONDS = 0.02, 0.08
"""How often an append is sent if its revision is right but its sequence is not, which happens while
another write of the stream is being processed."""

TOTAL_SECONDS = 4.5
HEADS_SECONDS = 4.0
READ_SECONDS = 1.0

_CONFLICTS = frozenset({WRONG_LAST_SEQUENCE, WRITE_IN_PROCESS})


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    """JetStream's ack of a message."""

    seq: int = 0
    stream: str = ""
    error: _Error | None = None


_read_ack = msgspec.json.Decoder(_Ack).decode


class _Known(NamedTuple):
    """The sequence of a stream's last message when it had a revision."""

    revision: Revision
    sequence: int


@dataclass(frozen=True, slots=True)
class _Sent:
    """The state when appends were sent: an ack must be above `highest`."""

    epoch: int
    highest: int


class JetStreamStore(StreamStore):
    """Stores through one connection, which never repeats a request."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._layout = access.layout
        self._known: dict[StreamKey, _Known] = {}
        self._known_epoch = 0
        self._highest = 0

    def epoch_of(self, stream: StreamKey) -> int:  # noqa: ARG002  # one connection for all
        """Grow with each new connection, leader or stream. See `StreamStore.epoch_of`."""
        return self._access.epoch

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        """Return the heads of streams. See `StreamStore.heads`."""
        until = asyncio.get_running_loop().time() + HEADS_SECONDS
        found = await self._read_heads(streams, until)
        (reply,) = await self._access.run([requests.info(self._layout.audio)], READ_SECONDS)
        answer = requests.answer(reply)
        self._access.note_lacking(answer)
        info = requests.checked(reply)
        self._access.note_place(info)
        return Heads(time_of(info), found)

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        """Store appends, all at once. See `StreamStore.append`."""
        outcomes: list[Outcome | None] = [None] * len(appends)
        until = asyncio.get_running_loop().time() + TOTAL_SECONDS
        backoff = Backoff(FIRST_AGAIN_SECONDS, MAX_AGAIN_SECONDS)
        for attempt in range(ATTEMPTS):
            places = [place for place, outcome in enumerate(outcomes) if outcome is None]
            if not places:
                break
            if attempt:
                await asyncio.sleep(backoff.note_failure())
            await self._attempt(appends, outcomes, places, until)
        return [_in_process() if outcome is None else outcome for outcome in outcomes]

    async def _attempt(
        self,
        appends: Sequence[Append],
        outcomes: list[Outcome | None],
        places: Sequence[int],
        until: float,
    ) -> None:
        """Send appends whose sequence is known; look up the others first. None: once more."""
        await self._access.connection.connect()
        unknown = [place for place in places if self._expected(appends[place]) is None]
        if unknown:
            await self._look_up(appends, outcomes, unknown, until - READ_SECONDS)
        sent: list[int] = []
        messages_: list[Request] = []
        for place in places:
            append = appends[place]
            sequence = self._expected(append)
            if outcomes[place] is None and sequence is not None:
                sent.append(place)
                messages_.append(self._message(append, sequence))
        before = _Sent(self._access.epoch, self._highest)
        seconds = until - asyncio.get_running_loop().time()
        for place, reply in zip(sent, await self._access.run(messages_, seconds), strict=True):
            outcomes[place] = self._outcome(appends[place], reply, before)
        if APPENDED in outcomes:
            self._access.note_led()

    def _expected(self, append: Append) -> int | None:
        """Return the sequence that the last message of the stream must have, if it is known."""
        if self._known_epoch != self._access.epoch:
            self._known.clear()
            self._known_epoch, self._highest = self._access.epoch, 0
        known = self._known.get(append.stream)
        if known is not None and known.revision == append.expected:
            return known.sequence
        return 0 if append.expected is None and known is None else None

    def _message(self, append: Append, sequence: int) -> Request:
        is_announced, payload = messages.write(append)
        layout, stream = self._layout, append.stream
        subject = layout.index(stream) if is_announced else layout.batch(stream)
        headers = (
            b"Nats-Expected-Last-Subject-Sequence: %d\r\n"
            b"Nats-Expected-Last-Subject-Sequence-Subject: %b\r\n"
        ) % (sequence, layout.all_of(stream).encode())
        return Request(subject, payload, headers)

    def _outcome(
        self, append: Append, reply: Reply | PublisherError, before: _Sent
    ) -> Outcome | None:
        """Read an ack; None where the sequence was another than the last that is known."""
        try:
            sequence = self._acked(reply)
        except PublisherError as error:
            return Failed(error)
        if sequence is None:
            self._known[append.stream] = _Known("", 0)  # there is another message
            return None
        if sequence <= before.highest and before.epoch == self._access.epoch:
            self._access.connection.doubt()  # sequences are used again: something was lost
            self._highest = 0
        self._highest = max(self._highest, sequence)
        self._note(append.stream, append.head.revision, sequence)
        return APPENDED

    def _acked(self, reply: Reply | PublisherError) -> int | None:
        """Return the sequence under which a message is stored; None for a conflict.

        Raises:
            PublisherError: it was not stored, or may be.

        """
        if isinstance(reply, PublisherError):
            raise reply
        if reply.status:
            self._access.note_lacking()
            raise no_responders()
        try:
            ack = _read_ack(reply.payload)
        except msgspec.MsgspecError as error:
            raise BrokerUnavailable("JetStream's ack cannot be read") from error
        if ack.error is not None:
            if ack.error.err_code in _CONFLICTS:
                return None
            raise told(msgspec.to_builtins(ack.error))
        if ack.stream != self._layout.audio:
            raise not_jetstream()
        return ack.seq

    async def _look_up(
        self,
        appends: Sequence[Append],
        outcomes: list[Outcome | None],
        places: Sequence[int],
        until: float,
    ) -> None:
        """Ask the leader for the heads of streams, and answer conflicts."""
        heads = await self._read_heads([appends[place].stream for place in places], until)
        for place, head in zip(places, heads, strict=True):
            if isinstance(head, Failed):
                outcomes[place] = head
            elif appends[place].expected != (None if head is None else head.revision):
                outcomes[place] = Conflict(head)

    async def _read_heads(
        self, streams: Sequence[StreamKey], until: float
    ) -> list[Head | Failed | None]:
        """Read heads page by page; those for which no time is left fail."""
        clock = asyncio.get_running_loop().time
        found: list[Head | Failed | None] = []
        for first in range(0, len(streams), PAGE):
            left = until - clock()
            if first and left < READ_SECONDS:
                return [*found, *[_too_many()] * (len(streams) - first)]
            found += await self._read_page(streams[first : first + PAGE], left - READ_SECONDS)
        return found

    async def _read_page(
        self, streams: Sequence[StreamKey], again_seconds: float
    ) -> list[Head | Failed | None]:
        """Ask the leader for the last message of streams; retry those without an answer."""
        asked = [requests.last(self._layout.audio, self._layout.all_of(it)) for it in streams]
        replies = list(await self._access.run(asked, READ_SECONDS))
        silent = [i for i, it in enumerate(replies) if isinstance(it, PublisherError) or it.status]
        seconds = min(READ_SECONDS, again_seconds)
        again = await self._access.run([asked[i] for i in silent], seconds)
        for i, reply in zip(silent, again, strict=True):
            replies[i] = reply
        pairs = list(zip(streams, replies, strict=True))
        for _, reply in pairs:
            if isinstance(reply, Reply) and not reply.status:
                self._access.note_lacking(requests.answer(reply))
        if self._access.is_lacking:
            pairs = list(zip(streams, await self._access.run(asked, READ_SECONDS), strict=True))
        return [self._read_head(stream, reply) for stream, reply in pairs]

    def _read_head(self, stream: StreamKey, reply: Reply | PublisherError) -> Head | Failed | None:
        try:
            stored = requests.message(reply)
            if stored is None:
                self._known.pop(stream, None)
                return None
            head = messages.Message.read(stored.sequence, stored.payload).head()
        except PublisherError as error:
            return Failed(error)
        self._note(stream, head.revision, stored.sequence)
        return head

    def _note(self, stream: StreamKey, revision: Revision, sequence: int) -> None:
        known = self._known
        if len(known) >= MAX_KNOWN and stream not in known:
            known.pop(next(iter(known)))
        known[stream] = _Known(revision, sequence)


def _in_process() -> Failed:
    failure = BrokerUnavailable("another write of the stream is in process")
    failure.__cause__ = RuntimeError(str(WRITE_IN_PROCESS))
    return Failed(failure)


def _too_many() -> Failed:
    failure = BrokerUnavailable(
        "the heads of these streams take too long to read: the rest is asked for once more"
    )
    failure.__cause__ = TimeoutError()
    return Failed(failure)
