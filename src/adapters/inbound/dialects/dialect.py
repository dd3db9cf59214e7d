"""What makes a dialect."""

from collections.abc import Callable, Mapping
from typing import Protocol

from adapters.inbound.close_codes import CloseCode
from adapters.inbound.dialects.messages import Message, Refused
from domain.identifiers import InteractionId
from domain.ledger import Ledger

Remark = Callable[[str], None]
"""Takes what is odd about a call, for the log: one of a closed set of texts, without any values.
Each is logged once a call, however often it is made."""


class Decoder(Protocol):
    """Reads what one connection says. Decoding never raises, whatever arrives."""

    def decode_text(self, text: bytes) -> Message:
        """Decode a text message; it is valid UTF-8."""
        ...

    def decode_binary(self, data: bytes) -> Message:
        """Decode a binary message; one that is a JSON object with a text `event` is no audio."""
        ...


class Dialect(Protocol):
    """A carrier's wire format: how it is recognised, decoded, answered and put up with.

    The replies return None where the dialect has no such reply.
    """

    @property
    def name(self) -> str:
        """How the dialect is called in what is published and counted."""
        ...

    @property
    def most_held_before_start(self) -> int:
        """How many frames and signals may come before `start`; 0: the first closes 4400."""
        ...

    @property
    def most_refused_in_a_row(self) -> int | None:
        """How many messages in a row may be refused before the connection is closed."""
        ...

    @property
    def never_closed_with(self) -> frozenset[CloseCode]:
        """Reasons for which a sender of this dialect is not hung up on."""
        ...

    @property
    def comes_back(self) -> bool:
        """Whether a sender that is closed 1012 in the middle of a call reconnects and resumes."""
        ...

    @property
    def waits_for_broker(self) -> bool:
        """Whether a sender is held on to although nothing can be confirmed."""
        return CloseCode.NOT_CONFIRMED in self.never_closed_with

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The WebSocket subprotocols of the dialect; the handshake chooses one that is offered."""
        return ()

    def recognises(self, first: Mapping[str, object]) -> bool:
        """Tell whether a connection whose first message is this JSON object speaks the dialect."""
        ...

    def decoder(self, query: Mapping[str, str], remark: Remark) -> Decoder:
        """Return what reads a connection that was opened with this query string."""
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
