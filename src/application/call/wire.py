"""How a session speaks to its sender."""

from typing import Protocol

from application.call.closing import CloseCode
from application.call.messages import Refused
from domain.identifiers import InteractionId
from domain.ledger import Ledger


class Wire(Protocol):
    """The limits of a carrier, and its replies.

    A reply is None if the wire does not have it; by default it has none.
    """

    @property
    def name(self) -> str:
        """The name of the wire in entries and metrics."""
        ...

    @property
    def max_early_messages(self) -> int:
        """How many frames and signals may come before `start`; 0: the first closes 4400."""
        ...

    @property
    def max_refused_in_a_row(self) -> int | None:
        """How many messages in a row may be refused before the connection is closed."""
        ...

    @property
    def never_closed_with(self) -> frozenset[CloseCode]:
        """The codes that never close a connection of this wire."""
        ...

    @property
    def comes_back(self) -> bool:
        """Whether a sender reconnects and resumes after close 1012 in the middle of a call."""
        ...

    @property
    def waits_for_broker(self) -> bool:
        """Whether a connection stays open while nothing can be confirmed."""
        return CloseCode.NOT_CONFIRMED in self.never_closed_with

    def started(
        self,
        interaction_id: InteractionId,  # noqa: ARG002  # for overriders, as all below
        generation: int,  # noqa: ARG002
        last_seq: int | None,  # noqa: ARG002
    ) -> str | None:
        """Reply that the stream is started; `last_seq` only where it resumes a run."""
        return None

    def ack(self, seq: int) -> str | None:  # noqa: ARG002
        """Reply that every frame up to `seq` is published or was refused."""
        return None

    def error(self, refused: Refused) -> str | None:  # noqa: ARG002
        """Reply that a message was refused."""
        return None

    def ended(self, interaction_id: InteractionId, ledger: Ledger) -> str | None:  # noqa: ARG002
        """Reply that the run is over and published."""
        return None
