"""Real servers for the tests: the service on a port, a client over a socket, keys and tokens."""

import asyncio
import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from ports import quiet_port
from waiting import wait_until
from warm_start import Process, WarmProcess, can_be_warm
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from entrypoints.configuration import read_settings
from entrypoints.listening import bind, find_endpoints
from entrypoints.registry import destination_adapters
from entrypoints.server import build_server

LIMIT_SECONDS = 15.0

TAKEN_SECONDS = 1.0
"""How long a reset waits for a peer that does not take what was sent."""

CLI = ("-m", "entrypoints.program")
"""What Python is told to run for `rtaa-ingest`."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """A service on a port of this machine."""

    port: int

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path)[1])

    def is_draining(self) -> bool:
        return b"draining" in self.get("/health/ready")[1]

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample, 0 if there is none; labels not named may be anything."""
        total = 0.0
        for line in self.get("/metrics")[1].decode().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(
                f'{key}="{label}"' in sample for key, label in labels.items()
            ):
                total += float(value)
        return total


class Service(Served):
    """The service in this process, on a thread and a port; `with` starts and stops it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.environment = {"HOST": "127.0.0.1", "PORT": str(self.port), **environment}
        settings = read_settings(destination_adapters(), self.environment)
        self._server = build_server(settings)
        sockets = bind(find_endpoints(settings.listening.host, settings.ports))
        self._thread = threading.Thread(
            target=self._server.run, args=[sockets], name="service", daemon=True
        )

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/ingest"

    @property
    def senders(self) -> int:
        """How many are connected, started or not, or are about to be."""
        roster = self._server._roster
        return len(roster._held) + roster._arriving

    def start(self, *, ready: bool = True) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started)
        if ready:
            wait_until(lambda: self.get("/health/ready")[0] == 200)
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive(), "the service did not stop"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


class ServiceProcess(Served):
    """`rtaa-ingest serve` as a process of its own, with its log in a file.

    With this Python and the installed program it is started `warm`: see `warm_start`.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        arguments: Sequence[str] = (),
        program: Sequence[str] = CLI,
        stderr: int | None = None,
        python: str | Path = sys.executable,
        *,
        warm: bool = True,
    ) -> None:
        self.port = quiet_port()
        self.log = log
        self._command = [str(python), *program, "serve", *arguments]
        self._arguments = arguments
        self._is_warm = warm and (python, tuple(program)) == (sys.executable, CLI)
        self.url = f"ws://127.0.0.1:{self.port}/v1/ingest"
        self._environment = {"HOST": "127.0.0.1", "PORT": str(self.port), **environment}
        self._stderr = stderr
        log.unlink(missing_ok=True)
        self.process = self._spawn()

    def _spawn(self) -> Process:
        environment = {**os.environ, **self._environment}
        with self.log.open("ab") as lines:
            errors = lines.fileno() if self._stderr is None else self._stderr
            if self._is_warm and can_be_warm(environment):
                arguments = ["serve", *self._arguments]
                return WarmProcess(arguments, environment, lines.fileno(), errors)
            return subprocess.Popen(self._command, env=environment, stdout=lines, stderr=errors)

    def kill_and_restart(self) -> None:
        """Kill it, and start another on the same port; return when that one is ready."""
        self.kill()
        self.process = self._spawn()
        self.wait_until_ready()

    def stop_and_restart(self) -> None:
        """End it as an operator does, and start another on the same port."""
        assert self.stop() == 0
        self.process = self._spawn()
        self.wait_until_ready()

    def wait_until_ready(self) -> Self:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self.port}/health/ready", timeout=1
                ) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(ready)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_SECONDS)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_SECONDS)


@contextmanager
def service_process(environment: Mapping[str, str], log: Path) -> Any:
    service = ServiceProcess(environment, log)
    try:
        yield service.wait_until_ready()
    finally:
        if service.process.poll() is None:
            service.kill()


class Caller:
    """A sender of the dialect exostreamkit that writes exactly what a test tells it to."""

    dialled: ClassVar[list["Caller"]] = []

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_
        self.replies: list[dict[str, Any]] = []
        self.dialled.append(self)

    @classmethod
    async def hang_up_all(cls) -> None:
        """Close what a test has left open."""
        while cls.dialled:
            await cls.dialled.pop().socket.close()

    @classmethod
    async def dial(cls, url: str, headers: Any = None) -> Self:
        return cls(
            await connect(
                url,
                additional_headers=headers,
                compression=None,
                ping_interval=None,
                open_timeout=LIMIT_SECONDS,
                max_size=None,
            )
        )

    async def say(self, message: Any) -> None:
        """Send bytes as binary, text as it is, anything else as JSON."""
        raw = message if isinstance(message, bytes | str) else json.dumps(message)
        await self.socket.send(raw)

    async def start(self, name: str, *, wait: bool = True, **fields: Any) -> dict[str, Any]:
        await self.say(start_message(name, **fields))
        return await self.hear("started") if wait else {}

    async def speak(self, *seqs: int, size: int = 320) -> None:
        for seq in seqs:
            await self.say(audio_message(seq, pcm(seq, size)))

    async def hear(self, event: str | None = None) -> dict[str, Any]:
        """Return the next reply; of `event`, if it is named, keeping those before it."""
        while True:
            async with asyncio.timeout(LIMIT_SECONDS):
                reply: dict[str, Any] = json.loads(await self.socket.recv())
            self.replies.append(reply)
            if event in (None, reply["event"]):
                return reply

    async def hear_ack(self, seq: int) -> None:
        """Wait until everything up to `seq` is acknowledged."""
        while (await self.hear("ack"))["seq"] < seq:
            pass

    async def end(self) -> dict[str, Any]:
        await self.say({"event": "end"})
        ledger: dict[str, Any] = (await self.hear("ended"))["ledger"]
        return ledger

    async def closed(self) -> int | None:
        """Hear everything up to the close and return its code."""
        try:
            while True:
                await self.hear()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def reset(self) -> None:
        """Reset the connection without a word, once the other side has what was sent.

        A reset drops what this side still holds, as where the other does not read for a while.
        """
        transport, until = self.socket.transport, time.monotonic() + TAKEN_SECONDS
        while not transport.is_closing() and unsent(transport) and time.monotonic() < until:
            time.sleep(0.001)
        reset_connection(self.socket)


def unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes the other side has not acknowledged."""
    sock: socket.socket = transport.get_extra_info("socket")
    queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(queued, sys.byteorder) + transport.get_write_buffer_size()


def reset_connection(connection: ClientConnection) -> None:
    """Reset a connection, if it is still open."""
    if not connection.transport.is_closing():
        sock: socket.socket = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.transport.abort()


def pcm(seed: int, size: int = 320) -> bytes:
    """Audio that tells frames apart."""
    return (seed % 65_536).to_bytes(2, "little") * (size // 2)


def start_message(name: str, tenant: str = "tenant-abc", **fields: Any) -> dict[str, Any]:
    return {
        "event": "start",
        "interaction_id": name,
        "tenant_id": tenant,
        "sample_rate": 8000,
        "encoding": "pcm16",
        **fields,
    }


def audio_message(seq: Any, audio: bytes) -> dict[str, Any]:
    return {"event": "audio", "data": base64.b64encode(audio).decode(), "seq": seq}


class Keys:
    """An RSA pair for tests."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public_pem = (
            self._private.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        return jwt.encode({"iat": now, "exp": now + 600, **claims}, self._private, "RS256")

    def bearer(self, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**claims)}"}


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}
