"""Published entries of a stream: ids, and fields converted back to values."""

from collections.abc import Mapping

from adapters.brokers.data import UNREADABLE, read_data, read_started
from application.ports.errors import BrokerRefused
from application.ports.store import Mark
from domain.entries import Entry, Started
from domain.media import AudioFrame


def entry_id(mark: Mark) -> str:
    """Return the id of an entry at the broker."""
    return f"{mark.generation}-{mark.position}"


def read_entry_id(found: bytes) -> Mark:
    """Read the id of an entry.

    Raises:
        ValueError: it is no such id.

    """
    generation, position = found.split(b"-")
    return Mark(int(generation), int(position))


class EntryReader:
    """Turns the entries of one stream, in order, back into values.

    Audio has the format of the `Started` before it; `started` is the `data` of the latest one, for
    a stream whose `Started` retention has removed.
    """

    def __init__(self, started: bytes | None) -> None:
        self._media = None if started is None else read_started(started).opening.media

    def read(self, found_id: bytes, fields: Mapping[bytes, bytes]) -> tuple[Mark, Entry]:
        """Return an entry with its generation and position.

        Raises:
            BrokerRefused: the entry is not one of ours.

        """
        try:
            return read_entry_id(found_id), self._entry(fields)
        except UNREADABLE as error:
            raise BrokerRefused(f"entry {found_id!r} cannot be read") from error

    def _entry(self, fields: Mapping[bytes, bytes]) -> Entry:
        kind = fields[b"type"]
        if kind == b"audio":
            if self._media is None:
                raise ValueError("audio of unknown format")
            seq, received_at_ms = int(fields[b"seq"]), int(fields[b"received_at_ms"])
            return AudioFrame(self._media, seq, received_at_ms, fields[b"audio"])
        entry = read_data(kind.decode(), fields[b"data"])
        if isinstance(entry, Started):
            self._media = entry.opening.media
        return entry
