"""The interface of a dialect."""

import inspect
from collections.abc import Callable, Mapping
from typing import Protocol

from adapters.inbound.handshake import Handshake
from application.call.messages import Message
from application.call.wire import Wire

Remark = Callable[[str], None]
"""Receives an oddity of a call for the log: one of a closed set of texts, without any values. Each
is logged once per call."""


class Decoder(Protocol):
    """Decodes the messages of one connection. Decoding never raises."""

    def decode_text(self, text: bytes) -> Message:
        """Decode a text message; it is valid UTF-8."""
        ...

    def decode_binary(self, data: bytes) -> Message:
        """Decode a binary message; a JSON object with a text `event` is not audio."""
        ...


class Dialect(Wire, Protocol):
    """A carrier's wire format: recognition, decoding, replies and limits."""

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The WebSocket subprotocols of the dialect; the handshake selects an offered one."""
        return ()

    @property
    def description(self) -> str:
        """The dialect in a few sentences. Default: the first paragraph of its class's docstring."""
        return inspect.cleandoc(type(self).__doc__ or "").partition("\n\n")[0]

    @property
    def messages(self) -> tuple[object, ...]:
        """The messages of a sender, as types from which msgspec makes JSON schemas.

        The name of a message is the value of its type's first single-valued field, such as `event`,
        else the name of the type; the docstring describes it. `bytes`, which may be annotated with
        `msgspec.Meta`, is a binary message of audio only.
        """
        return ()

    @property
    def replies(self) -> tuple[object, ...]:
        """The messages that `started`, `ack`, `error` and `ended` return, as such types."""
        return ()

    def recognises(self, first: Mapping[str, object], handshake: Handshake) -> bool:
        """Return whether a connection with this first JSON object uses the dialect."""
        ...

    def decoder(self, handshake: Handshake, remark: Remark) -> Decoder:
        """Return the decoder of a connection that was opened with this handshake."""
        ...
