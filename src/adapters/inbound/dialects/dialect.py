"""What makes a dialect."""

import inspect
from collections.abc import Callable, Mapping
from typing import Protocol

from application.call.messages import Message
from application.call.wire import Wire

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


class Dialect(Wire, Protocol):
    """A carrier's wire format: how it is recognised, decoded, answered and tolerated."""

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The WebSocket subprotocols of the dialect; the handshake chooses one that is offered."""
        return ()

    @property
    def description(self) -> str:
        """The dialect in a few sentences. Default: the first paragraph of its class's docstring."""
        return inspect.cleandoc(type(self).__doc__ or "").partition("\n\n")[0]

    @property
    def messages(self) -> tuple[object, ...]:
        """The messages of a sender, as types of which msgspec makes a JSON schema.

        A type is named by the one value of its first field that has only one, such as `event`, else
        by itself; its docstring describes it. `bytes`, which may be annotated with `msgspec.Meta`,
        is a binary message that is audio and nothing else.
        """
        return ()

    @property
    def replies(self) -> tuple[object, ...]:
        """The messages that `started`, `ack`, `error` and `ended` return, as such types."""
        return ()

    def recognises(self, first: Mapping[str, object]) -> bool:
        """Tell whether a connection whose first message is this JSON object speaks the dialect."""
        ...

    def decoder(self, query: Mapping[str, str], remark: Remark) -> Decoder:
        """Return what reads a connection that was opened with this query string."""
        ...
