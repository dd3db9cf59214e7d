"""One server: commands and scripts over one connection, all in one round trip."""

from collections.abc import Callable, Sequence

from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.link import WHOLE, Link
from adapters.outbound.redis_streams.marks import MARK, Marks
from adapters.outbound.redis_streams.replies import is_elsewhere, is_unknown_script, raise_if_error
from adapters.outbound.redis_streams.resp import Command, Parts, Reply
from adapters.outbound.redis_streams.scripts import SCRIPTS
from adapters.outbound.redis_streams.slots import Key
from application.ports.errors import BrokerUnavailable

REPLICA_MS = 1_000
"""How long a replica may take to receive the writes of its primary."""


class Pipeline:
    """Runs commands and scripts over one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Run commands in one round trip; an error reply is in its place.

        Scripts that the broker does not know were not run: they are loaded and called again.

        Raises:
            PublisherError: the broker was not reached, so no command has a known reply.

        """
        replies = await self._send(commands)
        unknown = [i for i, reply in enumerate(replies) if is_unknown_script(reply)]
        if unknown:
            loads: list[Command | Parts] = [
                ("SCRIPT", "LOAD", script.text) for script in SCRIPTS.values()
            ]
            again = await self._send([*loads, *(commands[i] for i in unknown)])
            for i, reply in zip(unknown, again[len(loads) :], strict=True):
                replies[i] = reply
        return replies

    async def _send(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Send commands once."""
        return await self.connection.run(commands)


class ReplicatedPipeline(Pipeline):
    """Answers once a replica has all writes of these and earlier commands.

    WAIT covers only writes of its own connection, and a new connection has none. So each round
    writes a key of the server.
    """

    def __init__(self, connection: Connection, marks: Marks, key_of: Callable[[str], str]) -> None:
        """`key_of` makes a key of one of the marks."""
        super().__init__(connection)
        self._marks = marks
        self._key_of = key_of

    async def _send(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Send commands, and wait for a replica, also for repeated commands.

        Raises:
            PublisherError: also if no replica has the writes; the commands may have been executed.

        """
        if not commands:
            return []
        *replies, marked, replicas = await super()._send([*commands, *self._wait()])
        if all(is_elsewhere(reply) for reply in replies):
            return replies  # nothing is written that could be waited for
        if is_elsewhere(marked):
            self._marks.skip()
            marked, replicas = await super()._send(self._wait())
        if is_elsewhere(marked):
            raise BrokerUnavailable("the slots of the server are another's now")
        for reply in (marked, replicas):
            raise_if_error(reply)
        if replicas < 1:
            raise BrokerUnavailable(
                f"no replica has what was written within {REPLICA_MS / 1000:g} s: "
                "REDIS_CONFIRM=replica needs one that follows"
            )
        return replies

    def _wait(self) -> list[Command]:
        mark = self._key_of(self._marks.now())
        return [("SET", mark, 1, "PX", 10_000), ("WAIT", 1, REPLICA_MS)]


class ServerLink(Link):
    """One server."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._connection: Connection = pipeline.connection

    async def run(
        self,
        commands: Sequence[Command | Parts],
        keys: Sequence[Key],  # noqa: ARG002  # one server has them all
    ) -> list[Reply]:
        """Run commands. See `Link.run`."""
        return await self._pipeline.run(commands)

    async def run_at(self, part: str, commands: Sequence[Command]) -> list[Reply]:  # noqa: ARG002
        """Run commands. See `Link.run_at`."""
        return await self._pipeline.run(commands)

    async def run_marked(
        self, part: str, commands: Callable[[str], Sequence[Command]]
    ) -> list[Reply]:
        """Run commands. See `Link.run_marked`."""
        return await self.run_at(part, commands(MARK))

    async def connect(self, key: Key) -> None:  # noqa: ARG002
        """Be connected. See `Link.connect`."""
        await self._connection.connect()

    def epoch_of(self, key: Key) -> int:  # noqa: ARG002
        """Count the connections. See `Link.epoch_of`."""
        return self._connection.epoch

    def part_of(self, key: Key) -> str:  # noqa: ARG002
        """Return the only part. See `Link.part_of`."""
        return WHOLE

    def parts(self) -> Sequence[str]:
        """Return the only part. See `Link.parts`."""
        return (WHOLE,)

    def give_up(self, key: Key, why: str) -> None:  # noqa: ARG002
        """Lose the connection. See `Link.give_up`."""
        self._connection.give_up(why)

    async def close(self) -> None:
        """Disconnect. See `Link.close`."""
        await self._connection.close()
