"""Parts of streams in few words, and what a list of entries amounts to when it is walked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, Started
from domain.events import NEW_RUN, Continuation, Opening
from domain.head import Access, Head, Lease, Run
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat
from domain.starting import StartRequest

MEDIA = MediaFormat(8_000)
OTHER_MEDIA = MediaFormat(16_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
BYTES_PER_MS = 16


def opening(
    continuation: Continuation = NEW_RUN, media: MediaFormat = MEDIA, stream: StreamKey = STREAM
) -> Opening:
    return Opening(stream, InteractionId("call"), "exostreamkit", media, 1_700_000, continuation)


OPENING = opening()


def run_of(name: str = "run", access: Access = Access.OPEN, media: MediaFormat = MEDIA) -> Run:
    return Run(name, opening(media=media), access)


def request(
    owner: str = "new",
    continuation: Continuation = NEW_RUN,
    access: Access = Access.OPEN,
    waited_ms: int = 0,
    media: MediaFormat = MEDIA,
) -> StartRequest:
    return StartRequest(opening(continuation, media), owner, access, waited_ms)


def frame(seq: int, size: int = 320) -> AudioFrame:
    return AudioFrame(MEDIA, seq, 1_700_000, bytes([seq % 251]) * size)


def started(
    generation: int = 1, run: str = "run", *, resumed: bool = False, of: Opening = OPENING
) -> Started:
    return Started(generation, run, resumed, of)


def live_account(*seqs: int, size: int = 320, lost: int = 0) -> Account:
    """Return the account of a run whose entries are its start, these frames and the gaps."""
    walk = Walk()
    walk.take(started())
    for seq in seqs:
        if walk.last_seq is not None and seq > walk.last_seq + 1:
            walk.take(Gap(walk.last_seq + 1, seq - walk.last_seq - 1))
        walk.take(frame(seq, size))
    return walk.account(lost=lost)


def head_of(
    account: Account,
    run: Run | None = None,
    *,
    lease: Lease | None = None,
    revision: str = "r",
    begun_at: int = 0,
    first_kept: int = 0,
) -> Head:
    lease = Lease(1, "run", 1_000) if lease is None else lease
    return Head(revision, lease, begun_at, run or run_of(), account, first_kept)


@dataclass
class Walk:
    """A list of the entries of one run, and what it amounts to, by walking it."""

    position: int = 0
    entries: list[Entry] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.position += 1

    def take_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.take(entry)

    @property
    def seqs(self) -> list[int]:
        return seqs_of(self.entries)

    @property
    def declared(self) -> list[int]:
        return declared_in(self.entries)

    @property
    def first_seq(self) -> int | None:
        return min([*self.seqs, *self.declared], default=None)

    @property
    def last_seq(self) -> int | None:
        return max([*self.seqs, *self.declared], default=None)

    @property
    def size(self) -> int:
        return sum(len(entry.audio) for entry in self.entries if isinstance(entry, AudioFrame))

    def ledger(
        self, duplicate: int = 0, rejected: int = 0, lost: int = 0, undeclared: int = 0
    ) -> Ledger:
        published = len(self.seqs)
        return Ledger(
            published + duplicate + rejected + lost,
            published,
            duplicate,
            rejected,
            lost,
            len(self.declared) + undeclared,
            self.size,
            self.size // BYTES_PER_MS,
        )

    def account(self, state: State = State.LIVE, *, lost: int = 0) -> Account:
        ledger = self.ledger(lost=lost)
        return Account(self.position, self.first_seq, self.last_seq, ledger, state)


def now(is_so: bool) -> bool:
    """Return what is so at this moment: a type checker takes it to be so from then on."""
    return is_so


def seqs_of(entries: Iterable[Entry]) -> list[int]:
    return [entry.seq for entry in entries if isinstance(entry, AudioFrame)]


def declared_in(entries: Iterable[Entry]) -> list[int]:
    return [
        seq
        for entry in entries
        if isinstance(entry, Gap)
        for seq in range(entry.first_missing, entry.last_missing + 1)
    ]


def ends_in(entries: Sequence[Entry]) -> list[Ended]:
    return [entry for entry in entries if isinstance(entry, Ended)]
