r"""An append as one message: a line of JSON, followed by the raw data of its entries.

    {"v":1,"interaction_id":…,"run":…,"sample_rate":…,"encoding":…,"channels":…,
     "entries":[{"id":"<generation>-<position>","type":…,"bytes":…}, …],"head":{…}}\n<data>

The fields before `entries` apply to them up to the first `started`. `head` is the head of the
stream after the message. So the last message of a stream describes its state, and entries never
lack their head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from adapters.brokers.data import UNREADABLE
from adapters.outbound.nats_jetstream.entries import read_rows, written
from application.ports.errors import BrokerRefused
from application.ports.reader import Announcement, PublishedEntry
from application.ports.store import Append
from application.store_kit.codec import plain_head, read_head
from application.store_kit.storing import entries_of
from domain.entries import Ended, Started
from domain.head import Head, Run
from domain.identifiers import InteractionId, StreamKey
from domain.media import Encoding, MediaFormat

VERSION = 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def write(append: Append) -> tuple[bool, bytes]:
    """Return whether an append has a start or an end, and its message."""
    published = entries_of(append)
    rows, data, is_announced = [], [], False
    for it in published:
        row, its_data = written(it)
        rows.append(row)
        data.append(its_data)
        is_announced = is_announced or isinstance(it.entry, Started | Ended)
    run = append.segments[0].run if append.segments else append.head.run
    line = b'{"v":%d%b,"entries":[%b],"head":%b}\n' % (
        VERSION,
        _of_run(run),
        b",".join(rows),
        _encode(plain_head(append.head)),
    )
    return is_announced, b"".join((line, *data))


def _of_run(run: Run | None) -> bytes:
    if run is None:
        return b""
    opening, media = run.opening, run.opening.media
    facts = _encode(
        {
            "interaction_id": str(opening.interaction_id),
            "run": run.name,
            "sample_rate": media.sample_rate,
            "encoding": media.encoding.value,
            "channels": media.channels,
        }
    )
    return b"," + facts[1:-1]


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed message; `entries` and `head` decode its contents.

    Raises:
        BrokerRefused: it is not one of ours.

    """

    sequence: int
    line: Mapping[str, Any]
    data: memoryview

    @classmethod
    def read(cls, sequence: int, payload: bytes) -> "Message":
        """Take a message apart.

        Raises:
            BrokerRefused: it is not one of ours.

        """
        end = payload.find(b"\n")
        try:
            line = _decode(memoryview(payload)[:end])
            version = line.get("v")
        except UNREADABLE as error:
            raise _unreadable(sequence) from error
        if end < 0 or version != VERSION:
            raise BrokerRefused(
                f"message {sequence} is of version {version!r}; this release reads {VERSION}"
            )
        return cls(sequence, line, memoryview(payload)[end + 1 :])

    def head(self) -> Head:
        """Return the head of the stream after the message."""
        return read_head(self.line.get("head") or {})

    def entries(self) -> list[PublishedEntry]:
        """Return the entries."""
        line = self.line
        try:
            media = None
            if "sample_rate" in line:
                encoding = Encoding(line["encoding"])
                media = MediaFormat(line["sample_rate"], encoding, line["channels"])
            return read_rows(line["entries"], self.data, media)
        except UNREADABLE as error:
            raise _unreadable(self.sequence) from error

    def announcements(self, stream: StreamKey) -> list[Announcement]:
        """Return the announcements of the message; a cursor is the sequence and the place in it."""
        found: list[Announcement] = []
        try:
            name, interaction_id = self.line["run"], InteractionId(self.line["interaction_id"])
            for it in self.entries():
                entry = it.entry
                if isinstance(entry, Started):
                    name, interaction_id = entry.run, entry.opening.interaction_id
                if isinstance(entry, Started | Ended):
                    found.append(
                        Announcement(
                            cursor=f"{self.sequence}.{len(found)}",
                            event_id=f"{stream}/{it.generation}-{it.position}",
                            has_ended=isinstance(entry, Ended),
                            stream=stream,
                            interaction_id=interaction_id,
                            generation=it.generation,
                            position=it.position,
                            run=name,
                            resumed=isinstance(entry, Started) and entry.resumed,
                        )
                    )
        except UNREADABLE as error:
            raise _unreadable(self.sequence) from error
        if found:  # after the last place of a message comes the next message
            found[-1] = replace(found[-1], cursor=str(self.sequence))
        return found


def _unreadable(sequence: int) -> BrokerRefused:
    return BrokerRefused(f"message {sequence} cannot be read: it is damaged, or not ours")
