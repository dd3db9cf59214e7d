"""Commands and scripts over one client: all in one round trip, each with its own reply."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from adapters.outbound.redis_streams.failures import translate

Command = tuple[bytes | str | int, ...]
Reply = Any
"""What hiredis makes of a RESP2 reply: bytes, int, None, a list of them, or an exception."""


class Script:
    """A script by the digest under which the broker keeps it."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Command:
        """Write a call of it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


class Pipeline:
    """Runs commands through a client whose own retries are off."""

    def __init__(self, client: Redis, scripts: Sequence[Script]) -> None:
        self._client = client
        self._scripts = scripts

    async def run(self, commands: Sequence[Command]) -> list[Reply]:
        """Run commands in one pipeline; an error reply stands in its place.

        Scripts the broker does not know were not run: they are loaded and called once more.

        Raises:
            PublisherError: the broker was not reached, so no command has a known reply.

        """
        try:
            replies = await self._send(commands)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                loads: list[Command] = [("SCRIPT LOAD", script.text) for script in self._scripts]
                again = await self._send([*loads, *(commands[i] for i in unknown)])
                for i, reply in zip(unknown, again[len(loads) :], strict=True):
                    replies[i] = reply
        except RedisError as error:
            raise translate(error) from error
        return replies

    async def run_one(self, command: Command) -> Reply:
        """Run one command.

        Raises:
            PublisherError: the broker was not reached, or has answered with an error.

        """
        (reply,) = await self.run([command])
        raise_if_error(reply)
        return reply

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Reply] = await pipeline.execute(raise_on_error=False)
            return replies


def raise_if_error(reply: Reply) -> None:
    """Raise an error reply as the port's error."""
    if isinstance(reply, RedisError):
        raise translate(reply)
