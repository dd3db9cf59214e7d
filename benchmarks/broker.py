"""As much of a Redis client as is needed to look on: commands go out, replies come as they are."""

import socket
from typing import Any, Self
from urllib.parse import urlsplit

import hiredis

Word = str | bytes | int | float | memoryview
"""A part of a command, as hiredis takes it."""

_RECEIVE_BYTES = 1_048_576
_ANSWER_SECONDS = 60.0


class Broker:
    """One connection; `with` closes it."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.socket = socket.create_connection(
            (where.hostname or "127.0.0.1", where.port or 6379), _ANSWER_SECONDS
        )
        self._reader = hiredis.Reader()

    def send(self, *words: Word) -> None:
        """Send a command."""
        self.socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # the stub wants one word

    def receive(self) -> Any:  # noqa: ANN401  # whatever the command answers
        """Wait for the next reply.

        Raises:
            ConnectionError: the broker is gone.
            hiredis.ReplyError: it refused the command.

        """
        while (reply := self._reader.gets()) is False:
            received = self.socket.recv(_RECEIVE_BYTES)
            if not received:
                raise ConnectionError("the broker hung up")
            self._reader.feed(received)
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def ask(self, *words: Word) -> Any:  # noqa: ANN401  # as above
        """Send a command and wait for its reply."""
        self.send(*words)
        return self.receive()

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = bytes(self.ask("INFO", section)).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def cpu_seconds(self) -> float:
        """Return the user and system time that the broker has used."""
        cpu = self.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
