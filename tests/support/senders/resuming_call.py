"""One run of a sender that loses nothing, over as many connections as it takes."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from history import SentStream
from running import start_message
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

SAMPLE_RATE = 48_000
"""Frames of 320 bytes last 3 ms: what is sent flat out still fits into what a service keeps to
replay to a broker with, which is a time of audio."""


class Stuck(Exception):
    """Nothing happened for as long as anybody would wait."""


class ResumingCall:
    """What a run still has to send, and what it has heard; `following` over each new connection."""

    def __init__(
        self,
        stream: SentStream,
        frames: int,
        audio: Callable[[int, int], bytes],
        *,
        window: int,
        pace: float,
        limit_seconds: float,
        is_binary: bool,
        on_confirmed: Callable[[int], None],
    ) -> None:
        self.is_over = False
        self.run = stream.begin_run()
        self._stream = stream
        self._frames = frames
        self._audio = audio
        self._window = window
        self._pace = pace
        self._limit_seconds = limit_seconds
        self._is_binary = is_binary
        self._on_confirmed = on_confirmed
        self._unacked: dict[int, bytes] = {}
        self._next = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._was_begun = False
        self._has_sent_end = False

    async def following(self, socket: ClientConnection, connection: int) -> None:
        """Start or resume, send what is unacknowledged and the rest, return after `ended`.

        Raises:
            ConnectionClosed: before that; call this once more with another.

        """
        resumes, self._was_begun = self._was_begun, True
        more = {"resume": True} if resumes else {}
        start = start_message(
            self._stream.name, self._stream.tenant, sample_rate=SAMPLE_RATE, **more
        )
        await socket.send(json.dumps(start))
        if resumes:
            self._note(connection, await self._hear(socket))
        writing = asyncio.create_task(self._write(socket, connection))
        try:
            while not self.is_over:
                self._note(connection, await self._hear(socket))
        finally:
            writing.cancel()
            [failure] = await asyncio.gather(writing, return_exceptions=True)
            if not isinstance(failure, None | asyncio.CancelledError | ConnectionClosed):
                raise failure

    async def _hear(self, socket: ClientConnection) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._limit_seconds):
                reply: dict[str, Any] = json.loads(await socket.recv())
        except TimeoutError:
            raise Stuck(f"{self._stream.name} hears nothing") from None
        return reply

    def _note(self, connection: int, reply: dict[str, Any]) -> None:
        match reply["event"]:
            case "started":
                self._note_started(connection, reply["generation"], reply["last_seq"])
            case "ack":
                self.run.heard_ack(connection, reply["seq"])
                self._forget_up_to(reply["seq"])
            case "ended":
                self._forget_up_to(self._frames)
                self.run.heard_ended(reply["ledger"])
                self.is_over = True
            case _:
                self.run.heard_error(connection, reply.get("code", reply["event"]))

    def _note_started(self, connection: int, generation: int, last_seq: int | None) -> None:
        """Continue above `last_seq`.

        Without one, after an `end` and an ack: the end had arrived though its answer had not, and
        this start has opened a run of its own, which is to be ended as it is. Whether such an
        empty run was ended in its turn cannot be told, and need not be.
        """
        if last_seq is None and self._has_sent_end:
            if self.run.promised is not None:
                self._forget_up_to(self._frames)
                self.run.found_over()
                self.run = self._stream.begin_run()
            else:
                self.run.found_empty()
        self.run.heard_started(connection, generation, last_seq)
        if last_seq is not None:
            self._forget_up_to(last_seq)

    def _forget_up_to(self, seq: int) -> None:
        """Let go of frames that are safe; there may be room for more."""
        safe = list(takewhile(lambda kept: kept <= seq, self._unacked))
        for kept in safe:
            del self._unacked[kept]
        self._on_confirmed(len(safe))
        if len(self._unacked) < self._window:
            self._has_room.set()

    async def _write(self, socket: ClientConnection, connection: int) -> None:
        last = self.run.started[-1].last_seq if self.run.started else None
        first = next(iter(self._unacked), self._next)
        is_binary = self._is_binary and first == (0 if last is None else last + 1)
        for seq, audio in list(self._unacked.items()):
            await self._say(socket, connection, seq, audio, is_binary=is_binary)
        while self._next < self._frames:
            await self._has_room.wait()
            seq, self._next = self._next, self._next + 1
            audio = self._audio(len(self._stream.runs), seq)
            self._unacked[seq] = audio
            if len(self._unacked) >= self._window:
                self._has_room.clear()
            await self._say(socket, connection, seq, audio, is_binary=is_binary)
            if self._pace:
                await asyncio.sleep(self._pace)
        self._has_sent_end = True
        await socket.send('{"event":"end"}')

    async def _say(
        self, socket: ClientConnection, connection: int, seq: int, audio: bytes, *, is_binary: bool
    ) -> None:
        self.run.sent(connection, seq, audio)
        if is_binary:
            await socket.send(audio)
        else:
            data = b64encode(audio).decode()
            await socket.send(f'{{"event":"audio","data":"{data}","seq":{seq}}}')
