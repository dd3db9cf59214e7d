"""The counters of one run: the received frames, by outcome."""

from dataclasses import dataclass

from domain.errors import UnbalancedLedger


@dataclass(slots=True, unsafe_hash=True)
class Ledger:
    """Counters of a whole run, over all generations that resume it. Not to be changed.

    `received` counts frames, readable or not; each ends as exactly one of `published`,
    `duplicate`, `rejected`, `lost`. `missing` counts seqs between the first and the last accepted
    that are not published, whatever the cause; a lost frame is one of them unless its sender
    resumed and sent it again. `bytes` and `audio_ms` are of the published audio.

    Raises:
        UnbalancedLedger: a counter is negative, or the balance does not hold.

    """

    received: int = 0
    published: int = 0
    duplicate: int = 0
    rejected: int = 0
    lost: int = 0
    missing: int = 0
    bytes: int = 0
    audio_ms: int = 0

    def __post_init__(self) -> None:
        published, duplicate, rejected, lost = (
            self.published, self.duplicate, self.rejected, self.lost,
        )  # fmt: skip
        # One bit tells: the result of `|` is negative when any of them is.
        if published | duplicate | rejected | lost | self.missing | self.bytes | self.audio_ms < 0:
            raise UnbalancedLedger("a counter is negative")
        settled = published + duplicate + rejected + lost
        if self.received != settled:
            raise UnbalancedLedger(f"received {self.received} is not {settled}, what was settled")

    def counters(self) -> dict[str, int]:
        """Return the counters by name, in the published order."""
        return {
            "received": self.received,
            "published": self.published,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "lost": self.lost,
            "missing": self.missing,
            "bytes": self.bytes,
            "audio_ms": self.audio_ms,
        }


NOTHING = Ledger()
"""The ledger of a run without any frame."""
