"""The head of a stream: its end position, its writer's lease, and the account of its run.

A store updates the head together with the entries and returns it; it decides nothing. The pure
rules of `starting`, `placement`, `rebase` and `orphans` decide what follows from a head.
"""

from dataclasses import dataclass
from enum import StrEnum

from domain.account import Account, State
from domain.events import Opening

Revision = str
"""Names one state of a stream. The writer makes it (the store does if it lost one half), and no
revision is used twice. Revisions are compared for equality only."""


_SEPARATOR = "."


def another_owner(owner: str, suffix: str) -> str:
    """Return another token of the same start request: for a further attempt, or for a rebase."""
    return f"{start_of(owner)}{_SEPARATOR}{suffix}"


def start_of(owner: str) -> str:
    """Return the common part of all tokens of one start request."""
    return owner.partition(_SEPARATOR)[0]


class Access(StrEnum):
    """The kind of credential with which a run was started."""

    OPEN = "open"
    TOKEN = "token"  # noqa: S105  # a right, not a secret


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a stream.

    `generation` is its fencing number, `owner` a random token. `granted_at_ms` is a hybrid logical
    clock: the store's time at which the start was requested, or one more than the holder's if that
    is later.
    """

    generation: int
    owner: str
    granted_at_ms: int

    @property
    def order(self) -> tuple[int, str]:
        """The order of the starts of a stream: the latest holds it, and two are never equal."""
        return self.granted_at_ms, start_of(self.owner)

    def of_orphan_end(self, owner: str) -> "Lease":
        """Return the lease under which another process ends the run of this lease's dead writer."""
        return Lease(self.generation, owner, self.granted_at_ms + 1)

    def rebased(self, suffix: str) -> "Lease":
        """Return the lease of the same start for another head, under the next generation."""
        return Lease(self.generation + 1, another_owner(self.owner, suffix), self.granted_at_ms)


@dataclass(frozen=True, slots=True)
class Run:
    """The facts that all generations of a run share; `opening` is that of the latest generation."""

    name: str
    opening: Opening
    access: Access


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a stream in the store.

    `account` is the run's at `account.next_position`, the first position without an entry (the
    high-water mark); `begun_at` the position of the lease's `Started`; `first_kept` the first
    position that retention has kept. The store sets two flags: `entries_lost` if the entries are
    gone and the head is not, `account_lost` if the head was derived from the last entry, which has
    only generation and position.
    """

    revision: Revision
    lease: Lease
    begun_at: int
    run: Run | None
    account: Account
    first_kept: int = 0
    entries_lost: bool = False
    account_lost: bool = False

    @property
    def next_position(self) -> int:
        """The first position without an entry."""
        return self.account.next_position

    @property
    def is_open(self) -> bool:
        """Whether the run has no end yet."""
        return self.run is not None and self.account.state in (State.LIVE, State.CUT)
