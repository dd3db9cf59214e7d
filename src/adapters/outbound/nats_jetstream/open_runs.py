"""`OpenRuns` over JetStream: a stream that keeps one message for each subject, the last.

A heartbeat is the sequence of its message, which is unique; removing this message removes the
heartbeat.
"""

from collections.abc import Mapping, Sequence

from adapters.brokers.data import UNREADABLE
from adapters.outbound.nats_jetstream import requests
from adapters.outbound.nats_jetstream.access import Access
from adapters.outbound.nats_jetstream.failures import NO_MESSAGE, told
from adapters.outbound.nats_jetstream.layout import stream_of
from adapters.outbound.nats_jetstream.protocol import Reply, Request
from adapters.outbound.nats_jetstream.reading import ask_message, messages
from application.ports.open_runs import OpenRuns
from domain.identifiers import StreamKey

PAGE = 1_000
"""Heartbeats that are sent in one round trip."""

PROBE_TTL = b"Nats-TTL: 5s\r\n"


class JetStreamOpenRuns(OpenRuns):
    """Keeps one stream for all processes."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._layout = access.layout

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new heartbeat. See `OpenRuns.heartbeat`.

        A full stream still accepts a message that replaces another, so a write to the audio stream
        is tested as well.
        """
        sent = [
            Request(self._layout.audio_probe, b"", PROBE_TTL),
            Request(self._layout.open_probe, b"", PROBE_TTL),
            *(Request(self._layout.heartbeat(stream)) for stream in streams),
        ]
        names = [self._layout.audio, *([self._layout.open] * (1 + len(streams)))]
        for first in range(0, len(sent), PAGE):
            replies = await self._access.run(sent[first : first + PAGE])
            for reply, name in zip(replies, names[first:], strict=False):
                if isinstance(reply, Reply) and reply.status:
                    self._access.note_lacking()
                requests.stored(reply, name)

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """Return the last heartbeats. See `OpenRuns.heartbeats`."""
        name, subjects = self._layout.open, self._layout.open_subjects
        newest = await ask_message(self._access, requests.last(name, subjects))
        found: dict[StreamKey, float] = {}
        if newest is None:
            return found
        async for stored in messages(self._access, name, subjects, 1, newest.sequence):
            try:
                found[stream_of(stored.subject)] = float(stored.sequence)
            except UNREADABLE:
                continue  # another program has put it there
        return found

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """Remove the message of this heartbeat. See `OpenRuns.forget`."""
        stored = await ask_message(
            self._access, requests.last(self._layout.open, self._layout.heartbeat(stream))
        )
        if stored is None or float(stored.sequence) != heartbeat:
            return
        (reply,) = await self._access.run([requests.delete(self._layout.open, stored.sequence)])
        error = requests.answer(reply).get("error")
        if error is not None and error.get("err_code") not in NO_MESSAGE:
            raise told(error)
