"""Commands and scripts over one connection: all in one round trip, each with its own reply."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files

from redis.exceptions import ResponseError

from adapters.outbound.redis_streams.connection import Connection, Reply
from adapters.outbound.redis_streams.failures import translate
from adapters.outbound.redis_streams.resp import Command, Parts


class Script:
    """A script by the digest under which the broker keeps it."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Command:
        """Write a call of it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


class Pipeline:
    """Runs commands and scripts over one connection."""

    def __init__(self, connection: Connection, scripts: Sequence[Script] = ()) -> None:
        self._connection = connection
        self._scripts = scripts

    async def run(
        self, commands: Sequence[Command | Parts], epoch: int | None = None
    ) -> list[Reply]:
        """Run commands in one round trip; an error reply stands in its place.

        With `epoch`, only over the connection of that epoch.

        Scripts the broker does not know were not run: they are loaded and called once more.

        Raises:
            PublisherError: the broker was not reached, so no command has a known reply.

        """
        replies = await self._connection.run(commands, epoch)
        unknown = [i for i, reply in enumerate(replies) if _is_unknown_script(reply)]
        if unknown:
            loads: list[Command | Parts] = [
                ("SCRIPT", "LOAD", script.text) for script in self._scripts
            ]
            again = await self._connection.run([*loads, *(commands[i] for i in unknown)], epoch)
            for i, reply in zip(unknown, again[len(loads) :], strict=True):
                replies[i] = reply
        return replies

    async def run_one(self, command: Command) -> Reply:
        """Run one command.

        Raises:
            PublisherError: the broker was not reached, or has answered with an error.

        """
        (reply,) = await self.run([command])
        raise_if_error(reply)
        return reply


def _is_unknown_script(reply: Reply) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("NOSCRIPT")


def raise_if_error(reply: Reply) -> None:
    """Raise an error reply as the port's error."""
    if isinstance(reply, ResponseError):
        raise translate(reply)
