"""Proves that a part takes writes, by trying every command of publishing there.

It uses its own short-lived keys, and commands without effect on the shared keys.
"""

from collections.abc import Sequence

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.confirm import DISK_QUESTIONS, Confirm, raise_unless_synced
from adapters.outbound.redis_streams.link import Link
from adapters.outbound.redis_streams.replies import raise_if_error
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Reply
from adapters.outbound.redis_streams.scripts import SCRIPTS
from application.ports.errors import PublisherError

PROBE_MS = 10_000
"""The lifetime of the test keys."""

IMPOSSIBLE_ID = "0-0"
"""An impossible id: the broker refuses it, or reports the missing right."""

_PROBE = SCRIPTS["probe"]


class Writable:
    """Tries the parts of a link."""

    def __init__(self, link: Link, confirm: Confirm, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._index_key = layout.index_key(prefix)
        self._open_key = layout.open_key(prefix)
        self._questions = DISK_QUESTIONS if confirm is Confirm.DISK else ()

    async def verify(self, part: str) -> int | None:
        """Try a part; return the length of the index, None if another part has it.

        Raises:
            PublisherError: the part does not take writes, and why.

        """
        has_index = self._link.part_of(self._index_key) == part
        marks: list[str] = []

        def of_streams(mark: str) -> list[Command]:
            marks.append(mark)
            return [*self._questions, *self._of_streams(mark)]

        shared = [
            *(self._of_heartbeats() if self._link.part_of(self._open_key) == part else ()),
            *(self._of_index() if has_index else ()),
        ]
        replies = await self._link.run_marked(part, of_streams)
        if self._questions:
            self._raise_unless_synced(marks[-1], replies[: len(self._questions)])
        replies += await self._link.run(shared, [str(command[1]) for command in shared])
        for reply in replies:
            if not (isinstance(reply, ErrorReply) and IMPOSSIBLE_ID in str(reply)):
                raise_if_error(reply)
        return int(replies[-1]) if has_index else None

    def _raise_unless_synced(self, mark: str, replies: Sequence[Reply]) -> None:
        """Stop confirming if the server no longer syncs: the next connection is refused.

        Raises:
            PublisherError: it is not.

        """
        try:
            raise_unless_synced(*replies)
        except PublisherError as error:
            self._link.give_up(mark, str(error))
            raise

    def _of_streams(self, mark: str) -> tuple[Command, ...]:
        call = _PROBE.call(layout.probe_keys(self._prefix, mark), (PROBE_MS,))
        return ("SCRIPT", "LOAD", _PROBE.text), call

    def _of_heartbeats(self) -> tuple[Command, ...]:
        key = self._open_key
        return (
            layout.heartbeat_of_none(key),
            ("ZSCORE", key, "none"),
            ("ZSCAN", key, 0, "COUNT", 1),
        )

    def _of_index(self) -> tuple[Command, ...]:
        key = self._index_key
        return (
            ("XRANGE", key, "0-1", "0-1"),
            ("XADD", key, IMPOSSIBLE_ID, "type", "probe"),
            ("XLEN", key),
        )
