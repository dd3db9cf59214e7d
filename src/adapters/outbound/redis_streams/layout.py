"""Keys, and the format of the index of starts and ends, in both directions."""

from collections.abc import Mapping

from adapters.brokers.data import UNREADABLE
from adapters.outbound.redis_streams.entries import entry_id, read_entry_id
from application.ports.errors import BrokerRefused
from application.ports.reader import Announcement
from application.ports.store import Mark
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId

INDEX_ENTRIES = 100_000
"""How many starts and ends the index keeps at least, some 20 MB: a day at a call every 2 s."""


def stream_key(prefix: str, stream: StreamKey) -> str:
    """Key of the stream's entries. The inner braces put both keys in one cluster slot."""
    return f"{prefix}:audio:{{{stream}}}"


def facts_key(prefix: str, stream: StreamKey) -> str:
    """Key of the hash beside it."""
    return f"{prefix}:interaction:{{{stream}}}"


def index_key(prefix: str) -> str:
    """Key of the stream of all starts and ends."""
    return f"{prefix}:interactions"


def open_key(prefix: str) -> str:
    """Key of the sorted set of streams whose runs are open; the score is the last heartbeat."""
    return f"{prefix}:open"


def heartbeat_of_none(heartbeats: str) -> tuple[str, str, str, int, str]:
    """Test a heartbeat's write to the sorted set of `open_key` without any change."""
    return "ZADD", heartbeats, "XX", 1, "none"


def probe_keys(prefix: str, mark: str) -> tuple[str, str, str]:
    """Keys of a stream, a hash and a set that belong to no call, in the slot of `mark`."""
    return (
        f"{prefix}:{{{mark}}}:stream",
        f"{prefix}:{{{mark}}}:facts",
        f"{prefix}:{{{mark}}}:heartbeats",
    )


def confirm_key(prefix: str, mark: str) -> str:
    """Key that is written so that a replica can be waited for."""
    return f"{prefix}:{{{mark}}}:confirm"


def event_id(stream: StreamKey, generation: int, position: int) -> str:
    """Return the event id of a start or end, which is the same if it is repeated."""
    return f"{stream}/{generation}-{position}"


def announcement(
    prefix: str,
    stream: StreamKey,
    interaction_id: InteractionId,
    mark: Mark,
    *,
    run: str,
    resumed: bool,
    has_ended: bool,
) -> tuple[str | int, ...]:
    """Write the command that adds an entry to the index."""
    fields: dict[str, str | int] = {
        "type": "ended" if has_ended else "started",
        "tenant_id": stream.tenant_id,
        "interaction_id": interaction_id,
        "stream_id": stream.stream_id,
        "generation": mark.generation,
        "run": run,
        "resumed": int(resumed),
        "entry": entry_id(mark),
        "key": stream_key(prefix, stream),
        "event_id": event_id(stream, mark.generation, mark.position),
    }
    flat = [part for name, value in fields.items() for part in (name, value)]
    return "XADD", index_key(prefix), "MAXLEN", "~", INDEX_ENTRIES, "*", *flat


def read_announcement(cursor: bytes, fields: Mapping[bytes, bytes]) -> Announcement:
    """Read an entry of the index.

    Raises:
        BrokerRefused: the entry is not one of ours.

    """
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        entry = read_entry_id(text["entry"].encode())
        return Announcement(
            cursor=cursor.decode(),
            event_id=text["event_id"],
            has_ended=text["type"] == "ended",
            stream=StreamKey(TenantId(text["tenant_id"]), StreamId(text["stream_id"])),
            interaction_id=InteractionId(text["interaction_id"]),
            generation=entry.generation,
            position=entry.position,
            run=text["run"],
            resumed=text["resumed"] == "1",
        )
    except UNREADABLE as error:
        raise BrokerRefused(f"index entry {cursor!r} cannot be read") from error
