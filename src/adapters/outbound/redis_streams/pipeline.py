"""Commands and scripts over one connection: all in one round trip, each with its own reply."""

import re
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.resources import files

from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.failures import translate
from adapters.outbound.redis_streams.marks import Marks
from adapters.outbound.redis_streams.protocol import Reply
from adapters.outbound.redis_streams.resp import Command, ErrorReply, Parts
from application.ports.errors import BrokerUnavailable, PublisherError

REPLICA_MS = 1_000
"""How long a replica may take to receive the writes of its primary."""


_REDIRECT = re.compile(r"(MOVED|ASK) \d+ \S*:\d+")


class Script:
    """A script, called by its digest."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Command:
        """Write a call of it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


SCRIPTS = {name: Script(f"{name}.lua") for name in ("append", "forget_heartbeat", "probe")}


class Pipeline:
    """Runs commands and scripts over one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def run(self, commands: Sequence[Command | Parts]) -> list[Reply]:
        """Run commands in one round trip; an error reply stands in its place.

        Scripts that the broker does not know were not run: they are loaded and called again.

        Raises:
            PublisherError: the broker was not reached, so no command has a known reply.

        """
        replies = await self._send(commands)
        unknown = [i for i, reply in enumerate(replies) if _is_unknown_script(reply)]
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


def is_elsewhere(reply: Reply) -> bool:
    """Return whether a node lacks the slot of a key, or some keys of the slot."""
    return type(reply) is ErrorReply and str(reply).startswith(("MOVED ", "ASK ", "TRYAGAIN"))


def is_redirect(reply: Reply) -> bool:
    """Return whether a node redirects to another one for the slot."""
    return type(reply) is ErrorReply and _REDIRECT.fullmatch(str(reply)) is not None


def _is_unknown_script(reply: Reply) -> bool:
    return isinstance(reply, ErrorReply) and str(reply).startswith("NOSCRIPT")


def failure_of(reply: Reply) -> PublisherError | None:
    """Return the port's error for an error reply, or for a server that was not reached."""
    if isinstance(reply, ErrorReply):
        return translate(reply)
    return reply if isinstance(reply, PublisherError) else None


def raise_if_error(reply: Reply) -> None:
    """Raise an error reply as the port's error."""
    failure = failure_of(reply)
    if failure is not None:
        raise failure
