"""The carrier's account of one call, and its losses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from entrypoints.carrier.wire import Acked, Ended, Refused, Reply, Started, Unreadable

NORMAL_CLOSURE = 1000
"""RFC 6455 §7.4.1."""

NEVER = ("missing", "lost", "rejected", "duplicate")
"""Counters of the service's ledger that stay 0 for a correct sender on a good line."""


@dataclass(slots=True)
class CallAccount:
    """The sender's side of a call; `ledger` is the service's, None without an `ended`.

    `stream` is the name under which consumers find it. It is `connected` once the handshake is
    accepted, and `resumed` as often as it was continued over another connection. `failure` says why
    the call went no further. `expects_replies` is false for a carrier that is told nothing: its
    ledger has to be looked up at the broker. `expects_acks` is false against a service configured
    to send none.
    """

    interaction: str
    stream: str
    expects_replies: bool = True
    expects_acks: bool = True
    frames_sent: int = 0
    bytes_sent: int = 0
    connected: bool = False
    resumed: int = 0
    started: bool = False
    acked_through: int | None = None
    refused: list[str] = field(default_factory=list)
    ledger: Mapping[str, int] | None = None
    close_code: int | None = None
    failure: str | None = None

    @property
    def last_seq(self) -> int | None:
        """The seq of the last frame sent; frames are numbered from 0."""
        return self.frames_sent - 1 if self.frames_sent else None

    def note_sent(self, seq: int, size: int) -> bool:
        """Count a frame; False if it was sent before, over a connection that is lost."""
        if seq < self.frames_sent:
            return False
        self.frames_sent += 1
        self.bytes_sent += size
        return True

    def note(self, reply: Reply) -> None:
        """Take what the service replies."""
        match reply:
            case Started():
                self.started = True
            case Acked(seq):
                self.acked_through = seq
            case Refused(code, explanation):
                self.refused.append(f"{code}: {explanation}")
            case Ended(ledger):
                self.ledger = ledger
            case Unreadable(text):
                self.refused.append(f"a reply that is none of the dialect's: {text}")

    def complaints(self) -> list[str]:
        """Return all signs of a loss."""
        found = [] if self.failure is None else [self.failure]
        if not self.expects_replies:
            return found + self._complaints_of_silence()
        if not self.started:
            return found or ["the service did not say 'started'"]
        found += [f"refused: {refusal}" for refusal in self.refused[:3]]
        found += self._complaints_of_ledger()
        if self.expects_acks and self.acked_through != self.last_seq:
            found.append(f"acked through {self.acked_through}, sent through {self.last_seq}")
        if self.failure is None and self.close_code != NORMAL_CLOSURE:
            found.append(f"closed with {self.close_code}")
        return found

    def _complaints_of_silence(self) -> list[str]:
        found = [f"was told: {refusal}" for refusal in self.refused[:3]]
        if self.failure is None and self.close_code != NORMAL_CLOSURE:
            found.append(f"closed with {self.close_code}")
        return found if self.ledger is None else found + self._complaints_of_ledger()

    def _complaints_of_ledger(self) -> list[str]:
        if self.ledger is None:
            return ["no 'ended', so no ledger"]
        found = []
        for name, sent in (("published", self.frames_sent), ("bytes", self.bytes_sent)):
            counted = self.ledger.get(name)
            if counted != sent:
                found.append(f"{name} {counted} of {sent} sent")
        found += [f"{name} {count}" for name in NEVER if (count := self.ledger.get(name)) != 0]
        return found
