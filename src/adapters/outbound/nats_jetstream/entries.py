"""Entries in a message: a row of facts each, and their data after the line of JSON."""

from collections.abc import Mapping
from typing import Any

from adapters.brokers.data import data_of, read_data
from application.ports.reader import PublishedEntry
from domain.entries import Entry, Started
from domain.media import AudioFrame, MediaFormat


def written(published: PublishedEntry) -> tuple[bytes, bytes]:
    """Return an entry as a row of the line of JSON, and its data."""
    entry, place = published.entry, (published.generation, published.position)
    if type(entry) is AudioFrame:
        audio = entry.audio
        facts = (*place, entry.seq, entry.received_at_ms, len(audio))
        return (
            b'{"id":"%d-%d","type":"audio","seq":%d,"received_at_ms":%d,"bytes":%d}' % facts,
            audio,
        )
    kind, data = data_of(entry)
    row = b'{"id":"%d-%d","type":"%b","bytes":%d}' % (*place, kind.encode(), len(data))
    return row, data


def read_rows(
    rows: list[Mapping[str, Any]], data: memoryview, media: MediaFormat | None
) -> list[PublishedEntry]:
    """Read the entries of a message; `media` is the format of audio before the first `started`.

    Raises:
        UNREADABLE: they are not ours.

    """
    found, start = [], 0
    for row in rows:
        generation, position = map(int, row["id"].split("-"))
        end = start + row["bytes"]
        if end > len(data):
            raise ValueError("the message is cut off")
        entry = _read(row, bytes(data[start:end]), media)
        if isinstance(entry, Started):
            media = entry.opening.media
        found.append(PublishedEntry(generation, position, entry))
        start = end
    return found


def _read(row: Mapping[str, Any], data: bytes, media: MediaFormat | None) -> Entry:
    if row["type"] != "audio":
        return read_data(row["type"], data)
    if media is None:
        raise ValueError("audio of unknown format")
    return AudioFrame(media, row["seq"], row["received_at_ms"], data)
