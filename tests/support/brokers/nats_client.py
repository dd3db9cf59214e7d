"""A plain client of a NATS server that blocks and shares no code with the service."""

import json
import shutil
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from closing import Closing

LIMIT_SECONDS = 10.0

HAS_SERVER = Path(sys.executable).with_name("nats-server").exists() or shutil.which("nats-server")

needs_nats_server = pytest.mark.skipif(
    not HAS_SERVER, reason="there is no nats-server: its wheel is not made for Intel Macs"
)


class NatsClient(Closing):
    """Asks one thing at a time."""

    def __init__(
        self, port: int, login: dict[str, str] | None = None, seconds: float = LIMIT_SECONDS
    ) -> None:
        self._port = port
        self._seconds = seconds
        self._login = login or {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._socket = opened.enter_context(
                socket.create_connection(("127.0.0.1", self._port), self._seconds)
            )
            self._lines = opened.enter_context(self._socket.makefile("rb"))
            greeting = self._lines.readline()
            if not greeting:
                raise ConnectionError("the server closed the connection before its greeting")
            self.greeting = json.loads(greeting.removeprefix(b"INFO "))
            options = {"verbose": False, "headers": True, "no_responders": True, **self._login}
            self._send(b"CONNECT %b\r\nSUB inbox.test 1\r\n" % json.dumps(options).encode())
            self._opened = opened.pop_all()
        return self

    def close(self) -> None:
        self._opened.close()

    def request(self, subject: str, asked: object = None) -> dict[str, Any]:
        """Send JSON and return the JSON that is answered; `{}` where no server answers."""
        payload = b"" if asked is None else json.dumps(asked).encode()
        self._send(b"PUB %b inbox.test %d\r\n%b\r\n" % (subject.encode(), len(payload), payload))
        answered = self._message()
        found: dict[str, Any] = json.loads(answered) if answered else {}
        return found

    def publish(self, subject: str, payload: bytes) -> dict[str, Any]:
        """Store bytes in a stream."""
        self._send(b"PUB %b inbox.test %d\r\n%b\r\n" % (subject.encode(), len(payload), payload))
        found: dict[str, Any] = json.loads(self._message())
        return found

    def _message(self) -> bytes:
        while True:
            line = self._lines.readline()
            words = line.split()
            if not words:
                raise ConnectionError("the server closed the connection")
            if words[0] == b"PING":
                self._send(b"PONG\r\n")
            elif words[0] == b"MSG":
                return self._lines.read(int(words[-1]) + 2)[:-2]
            elif words[0] == b"HMSG":
                return self._lines.read(int(words[-1]) + 2)[int(words[-2]) : -2]
            elif words[0] == b"-ERR":
                raise PermissionError(line.decode())

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)
