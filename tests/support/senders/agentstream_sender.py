"""A sender of the dialect agentstream, which remembers every frame that reached it."""

import asyncio
import base64
import json
import time
from typing import Any, ClassVar, Self

from running import LIMIT_SECONDS, Caller, pcm
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

MAX_EARLY_MESSAGES = 50
"""How many messages may be sent before `start`."""


class ListeningConnection(ClientConnection):
    """A connection that notes every frame, control frames included, as it is parsed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.frames: list[Frame] = []

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            self.frames.append(event)
        super().process_event(event)


class AgentstreamSender(Caller):
    """Writes exactly what a test tells it to, and is to be told nothing but a close."""

    at_large: ClassVar[list["AgentstreamSender"]] = []

    socket: ListeningConnection

    @classmethod
    async def dial(cls, url: str, headers: Any = None, query: str = "") -> Self:
        socket = await connect(
            f"{url}?{query}" if query else url,
            additional_headers=headers,
            user_agent_header="Go-http-client/1.1",
            compression=None,
            ping_interval=None,
            open_timeout=LIMIT_SECONDS,
            create_connection=ListeningConnection,
        )
        sender = cls(socket)
        cls.at_large.append(sender)
        return sender

    @property
    def told(self) -> list[Frame]:
        """Everything that the service has sent but a close: to be empty, always."""
        return [frame for frame in self.socket.frames if frame.opcode is not Opcode.CLOSE]

    async def say(self, message: Any) -> None:
        """Send text and bytes as they are, anything else as compact JSON."""
        is_raw = isinstance(message, bytes | str)
        await self.socket.send(message if is_raw else json.dumps(message, separators=(",", ":")))

    async def begin(self, stream: str, **fields: Any) -> None:
        await self.say({"event": "connected"})
        await self.say(start(stream, **fields))

    async def send_chunks(self, stream: str, *chunks: int, size: int = 320) -> None:
        for chunk in chunks:
            await self.say(media(stream, chunk, pcm(chunk, size)))

    async def stop(self, stream: str, reason: str = "callended") -> int | None:
        """Say `stop` and return the code of the close that follows within 2 s."""
        await self.say({"event": "stop", "stream_sid": stream, "stop": {"reason": reason}})
        until = time.monotonic() + 2
        code = await self.closed()
        assert time.monotonic() < until
        return code

    async def is_left_alone(self, seconds: float = 0.3) -> bool:
        """Tell whether the service neither says nor closes anything for a while."""
        await asyncio.sleep(seconds)
        return not self.socket.frames and self.socket.close_code is None


def start(stream: str, *, call: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a start; `fields` go into the inner object."""
    inner = {
        "stream_sid": stream,
        "call_sid": call or f"call-{stream}",
        "account_sid": "tenant-abc",
        "from": "09812345670",
        "to": "08045670001",
        "custom_parameters": {},
        "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
        **fields,
    }
    return {"event": "start", "sequence_number": "1", "stream_sid": stream, "start": inner}


def media(stream: str, chunk: Any, audio: bytes | str) -> dict[str, Any]:
    """Return a frame; a text for `audio` is the payload as it is."""
    payload = audio if isinstance(audio, str) else base64.b64encode(audio).decode()
    return {
        "event": "media",
        "sequence_number": str(chunk),
        "stream_sid": stream,
        "media": {"chunk": str(chunk), "timestamp": "20", "payload": payload},
    }


def assert_silence() -> None:
    """No sender since the last time was told anything, no ping, no pong, no message."""
    senders = AgentstreamSender.at_large[:]
    AgentstreamSender.at_large.clear()
    assert [sender.told for sender in senders if sender.told] == []
