"""What makes a dialect."""

from collections.abc import Mapping
from typing import Protocol

from adapters.inbound.dialects.messages import Message, Refused
from domain.identifiers import InteractionId
from domain.ledger import Ledger


class Dialect(Protocol):
    """A carrier's wire format. Decoding never raises, whatever arrives, and keeps no state.

    The replies return None where the dialect has no such reply.
    """

    @property
    def name(self) -> str:
        """How the dialect is called in what is published and counted."""
        ...

    @property
    def most_refused_in_a_row(self) -> int:
        """How many messages in a row may be refused before the connection is closed."""
        ...

    def recognises(self, first: Mapping[str, object]) -> bool:
        """Tell whether a connection whose first message is this JSON object speaks the dialect."""
        ...

    def decode_text(self, text: str) -> Message:
        """Decode a text message."""
        ...

    def decode_binary(self, data: bytes) -> Message:
        """Decode a binary message."""
        ...

    def started(
        self, interaction_id: InteractionId, generation: int, last_seq: int | None
    ) -> str | None:
        """Reply that the stream is started; `last_seq` only where it goes on."""
        ...

    def ack(self, seq: int) -> str | None:
        """Reply that every frame up to `seq` is published or was refused."""
        ...

    def error(self, refused: Refused) -> str | None:
        """Reply that a message was refused."""
        ...

    def ended(self, interaction_id: InteractionId, ledger: Ledger) -> str | None:
        """Reply that the run is over and published."""
        ...
