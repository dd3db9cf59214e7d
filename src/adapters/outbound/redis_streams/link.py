"""Links to the servers: each command goes to the server that has its key.

ServerLink     one server: all commands go to it (`server.py`)
SentinelLink   the primary that the Sentinels name, and no other (`sentinel.py`)
ClusterLink    the primaries of a cluster, by slots (`cluster.py`)
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from adapters.outbound.redis_streams.replies import raise_if_error
from adapters.outbound.redis_streams.resp import Command, Parts, Reply
from adapters.outbound.redis_streams.slots import Key

WHOLE = ""
"""The only part."""


class Link(Protocol):
    """Connects on its first use. Only commands that were certainly not executed are sent again."""

    down_after_seconds: float | None = None
    """After how long Sentinels call a primary down, where there are any."""

    async def run(self, commands: Sequence[Command | Parts], keys: Sequence[Key]) -> list[Reply]:
        """Run commands, each at the server that has its key; one round trip for each server.

        An error reply is in its place, and so is a `PublisherError` for a server that was not
        reached while another was.

        Raises:
            PublisherError: no server was reached, so no command has a known reply.

        """
        ...

    async def run_one(self, command: Command, key: Key) -> Reply:
        """Run one command.

        Raises:
            PublisherError: the server was not reached, or has answered with an error.

        """
        (reply,) = await self.run([command], [key])
        raise_if_error(reply)
        return reply

    async def run_at(self, part: str, commands: Sequence[Command]) -> list[Reply]:
        """Run commands at the server of a part, whatever their keys.

        Raises:
            PublisherError: the server was not reached.

        """
        ...

    async def run_marked(
        self, part: str, commands: Callable[[str], Sequence[Command]]
    ) -> list[Reply]:
        """Run commands at the server of a part, with keys for the marks of the part.

        Raises:
            PublisherError: the server was not reached, or has the slots of the part no more.

        """
        ...

    async def learn(self) -> None:
        """Read the parts.

        Raises:
            PublisherError: they could not be read.

        """
        return

    async def connect(self, key: Key) -> None:
        """Connect to the server that has a key.

        Raises:
            PublisherError: it does not accept the log-in.

        """
        ...

    def epoch_of(self, key: Key) -> int:
        """Return a number that grows when the key's server or its connection changes."""
        ...

    def part_of(self, key: Key) -> str:
        """Return the part that has a key."""
        ...

    def parts(self) -> Sequence[str]:
        """Return the known parts; every key is in one of them."""
        ...

    def give_up(self, key: Key, why: str) -> None:
        """Drop the connection to the server that has a key."""
        ...

    async def close(self) -> None:
        """Disconnect for good."""
        ...
