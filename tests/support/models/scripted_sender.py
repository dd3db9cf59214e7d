"""A sender of each dialect that acts by drawn choices, over a connection in memory."""

import base64
import json
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from whole_process import Served, WholeProcess

from domain.access import Principal
from domain.identifiers import TenantId

FRAME_BYTES = 80
TENANT = "t"
BURSTS = (1, 1, 1, 5, 30, 49, 50, 99, 100, 101)


class Sent(NamedTuple):
    """A numbered frame, and how much its sender had been told before."""

    told: int
    seq: int
    is_whole: bool


class Sender:
    """What both dialects share. No two frames have the same audio: it begins with its number."""

    def __init__(
        self, process: WholeProcess, choice: Random, numbers: Iterator[int], owners: dict[int, int]
    ) -> None:
        principal = Principal()
        if choice.random() < 0.4:
            principal = Principal(token_tenant=TenantId(choice.choice("tttu")))
        self.served = Served(process, principal)
        self.peer = self.served.peer
        self.choice = choice
        self.seq = choice.choice([0, 0, 1, 5])
        self.has_started = False
        self.sent: list[Sent] = []
        self._numbers = numbers
        self._owners = owners

    def act(self) -> None:
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        return self.served.task.done()

    def tell(self, message: dict[str, Any]) -> None:
        self.peer.put((True, json.dumps(message, separators=(",", ":")).encode()))

    def audio(self, luck: float) -> bytes:
        """Return the next frame; some are half a sample short."""
        number = next(self._numbers)
        self._owners[number] = id(self)
        whole = f"{number}/".encode().ljust(FRAME_BYTES, b".")
        return whole[:-1] if luck < 0.02 else whole


class ExoSender(Sender):
    """Speaks ExoStreamKit; if it `is_binary`, half of its frames have no number."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.is_binary = self.choice.random() < 0.4

    def act(self) -> None:
        choice = self.choice
        if not self.has_started or choice.random() < 0.02:
            self._start()
            return
        luck = choice.random()
        if luck < 0.75:
            for _ in range(choice.choice(BURSTS)):
                self._speak()
        elif luck < 0.80:
            self.tell({"event": "end"})
        elif luck < 0.84:
            self.tell({"event": "huh"})
        elif luck < 0.88:
            for _ in range(choice.choice([1, 1, 20, 60])):
                self.peer.put((True, b"nope"))
        elif luck < 0.92:
            self.peer.leave()
        elif luck < 0.96:
            self.peer.reads.clear()
        else:
            self.peer.reads.set()

    def _start(self) -> None:
        choice = self.choice
        self.has_started = True
        self.tell(
            {
                "event": "start",
                "interaction_id": choice.choice(["s1", "s1", "s2"]),
                "tenant_id": TENANT,
                "sample_rate": choice.choice([8000, 8000, 8000, 16000]),
                "encoding": "pcm16",
                "resume": choice.random() < 0.7,
            }
        )

    def _speak(self) -> None:
        luck = self.choice.random()
        if luck < 0.05:
            self.seq += self.choice.choice([1, 2, 3])
        if luck > 0.97:
            self.seq = max(0, self.seq - 2)
        audio = self.audio(luck)
        if self.is_binary and self.choice.random() < 0.5:
            self.peer.put((False, audio))
        else:
            self.sent.append(Sent(len(self.peer.replies), self.seq, luck >= 0.02))
            data = base64.b64encode(audio).decode()
            self.tell({"event": "audio", "data": data, "seq": self.seq})
        self.seq += 1


class AgentSender(Sender):
    """Speaks AgentStream: on several tracks, and with chunks that are not always in order."""

    def act(self) -> None:
        choice = self.choice
        luck = choice.random()
        if not self.has_started and luck < 0.7:
            self._start()
        elif luck < 0.75:
            track = choice.choice([None, None, None, "outbound", "outbound", "x", "y", "z", "a b"])
            for _ in range(choice.choice(BURSTS)):
                self._speak(track)
        elif luck < 0.80:
            self.tell({"event": "stop"})
        elif luck < 0.85:
            event = choice.choice(["dtmf", "mark"])
            self.tell({"event": event, "dtmf": {"digit": "5"}, "mark": {"name": "x"}})
        elif luck < 0.88:
            self.tell({"event": "connected"})
        elif luck < 0.91:
            self.peer.put((False, b"\xff\xfe"), (True, b"{"))
        elif luck < 0.95:
            self.peer.leave()

    def _start(self) -> None:
        self.has_started = True
        start = {"call_sid": "c", "account_sid": TENANT, "media_format": {"sample_rate": "8000"}}
        stream = self.choice.choice(["a1", "a1", "a2"])
        self.tell({"event": "start", "stream_sid": stream, "start": start})

    def _speak(self, track: str | None) -> None:
        choice = self.choice
        luck = choice.random()
        media = {"payload": base64.b64encode(self.audio(luck)).decode()}
        if track is not None:
            media["track"] = track
        if luck < 0.1:
            self.seq += 2
        if luck > 0.97:
            self.seq = max(0, self.seq - 3)
        if choice.random() < 0.95:
            media["chunk"] = str(self.seq)
        self.seq += 1
        names = choice.choice([{}] * 6 + [{"stream_sid": "a1"}, {"streamSid": "a2"}])
        self.tell({"event": "media", "media": media, **names})
