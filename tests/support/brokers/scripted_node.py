"""A server that speaks Redis's protocol, answers as it is told, and remembers what it was asked."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import hiredis

OK = b"+OK\r\n"

Asked = tuple[str, ...]
Answer = Callable[[Asked], bytes | None]


def bulk(text: str | bytes | None) -> bytes:
    if text is None:
        return b"$-1\r\n"
    data = text.encode() if isinstance(text, str) else text
    return b"$%d\r\n%b\r\n" % (len(data), data)


def error(text: str) -> bytes:
    return f"-{text}\r\n".encode()


def number(value: int) -> bytes:
    return f":{value}\r\n".encode()


def array(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


class ScriptedNode:
    """`answers` are looked through for the first words of a command; the longest that fits answers.

    An answer of None is silence: what is asked later on the same connection is not answered either,
    as from a server that stands still.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer | bytes] = {"": OK, "PING": b"+PONG\r\n"}
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked_for(self, *words: str) -> list[Asked]:
        return [it for it in self.asked if it[: len(words)] == words]

    async def start(self) -> Self:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Refuse connections, and end those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            while self._writers:  # each is noted by its own task
                await asyncio.sleep(0)
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _answer(self, asked: Asked) -> bytes | None:
        for length in range(len(asked), -1, -1):
            answer = self.answers.get(" ".join(asked[:length]).upper())
            if answer is not None:
                return answer if isinstance(answer, bytes) else answer(asked)
        raise AssertionError("there is an answer for everything")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        commands = hiredis.Reader()
        is_silent = False
        try:
            while data := await reader.read(65_536):
                commands.feed(data)
                while (found := commands.gets()) is not False:
                    asked = _read(found)
                    self.asked.append(asked)
                    reply = None if is_silent else self._answer(asked)
                    is_silent = reply is None
                    writer.write(reply or b"")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._writers.discard(writer)


def _read(found: Sequence[Any]) -> Asked:
    return tuple(word.decode(errors="replace") for word in found)
