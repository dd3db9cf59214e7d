"""A sender of the dialect exostreamkit that loses nothing, by the advice of docs/connecting.md."""

import asyncio
from collections import Counter
from hashlib import blake2b

from history import SentStream
from resuming_call import ResumingCall, Stuck
from running import reset_connection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.05, 0.5
ABNORMAL_CLOSURE = 1006
NO_BROKER = 503


class ResumingSender:
    """Plays calls one after the other, and records them; each survives its connections.

    `window` frames at most are unacknowledged; with less than an interval of acks it would wait
    for ever.
    `pace` is the time between two frames; without it they go out as fast as the service acks.
    Nothing is waited for longer than `limit_seconds`: then the call is `Stuck`.
    """

    def __init__(
        self,
        url: str,
        *,
        window: int = 200,
        pace: float = 0.0,
        frame_bytes: int = 320,
        limit_seconds: float = 40.0,
    ) -> None:
        self.confirmed = 0
        self.connections = 0
        self.closes: Counter[int] = Counter()
        self._url = url
        self._window = window
        self._pace = pace
        self._frame_bytes = frame_bytes
        self._limit_seconds = limit_seconds
        self._socket: ClientConnection | None = None

    async def call(self, stream: SentStream, frames: int, *, is_binary: bool = False) -> None:
        """Open a run of the stream, send it whole, end it, and come back as often as it takes.

        More frames than the window holds: a sender that was not acknowledged anything cannot tell
        afterwards whether its `end` had arrived.

        Raises:
            Stuck: the service would not take it, or did not answer, for too long.

        """
        call = ResumingCall(
            stream,
            frames,
            lambda run, seq: unique_audio(stream.name, run, seq, self._frame_bytes),
            window=self._window,
            pace=self._pace,
            limit_seconds=self._limit_seconds,
            is_binary=is_binary,
            on_confirmed=self._count,
        )
        clock = asyncio.get_running_loop().time
        while not call.is_over:
            begun = clock()
            self._socket = await self._dial()
            self.connections += 1
            try:
                await call.following(self._socket, self.connections)
                await self._socket.close()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else ABNORMAL_CLOSURE
                self.closes[code] += 1
                call.run.heard_close(self.connections, code)
                if clock() < begun + LONGEST_BACKOFF_SECONDS:
                    await asyncio.sleep(FIRST_BACKOFF_SECONDS)
            finally:
                reset_connection(self._socket)
                self._socket = None

    def cut(self) -> None:
        """Reset the connection there is, if there is one; the call resumes over another."""
        if self._socket is not None:
            reset_connection(self._socket)

    async def _dial(self) -> ClientConnection:
        clock = asyncio.get_running_loop().time
        until, backoff = clock() + self._limit_seconds, FIRST_BACKOFF_SECONDS
        while True:
            try:
                return await connect(
                    self._url,
                    compression=None,
                    ping_interval=None,
                    open_timeout=self._limit_seconds,
                    close_timeout=1,
                    proxy=None,
                )
            except InvalidStatus as refused:
                if refused.response.status_code != NO_BROKER:
                    raise
            except (OSError, InvalidHandshake):
                pass
            if clock() > until:
                raise Stuck("no connection was accepted")
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    def _count(self, frames: int) -> None:
        self.confirmed += frames


def unique_audio(name: str, run: int, seq: int, size: int) -> bytes:
    """Audio that no other frame of any stream has."""
    mark = blake2b(f"{name}/{run}/{seq}".encode(), digest_size=16).digest()
    return (mark * (size // 16 + 1))[:size]
