"""A stream that this process writes, and the table of all of them."""

from dataclasses import dataclass

from application.outbox import Outbox
from domain.identifiers import StreamKey
from domain.interaction import Interaction


@dataclass(frozen=True, slots=True, eq=False)
class LiveStream:
    """One generation of one stream: the interaction and the way of its events out."""

    interaction: Interaction
    outbox: Outbox

    @property
    def key(self) -> StreamKey:
        """Which stream it is."""
        return self.interaction.opening.stream


class LiveStreams:
    """The streams this process holds, each under the newest generation it was given."""

    def __init__(self) -> None:
        self._by_key: dict[StreamKey, LiveStream] = {}

    def get(self, key: StreamKey) -> LiveStream | None:
        """Return the stream held under `key`."""
        return self._by_key.get(key)

    def enter(self, stream: LiveStream) -> None:
        """Hold `stream` from now on; the loser of two generations of one stream is superseded."""
        held = self._by_key.get(stream.key)
        if held is None or held.interaction.generation < stream.interaction.generation:
            self._by_key[stream.key] = stream
            newer, older = stream, held
        else:
            newer, older = held, stream
        if older is not None:
            older.outbox.supersede(newer.interaction.generation)

    def leave(self, stream: LiveStream) -> None:
        """Let go of `stream`, if it is still the one that is held."""
        if self._by_key.get(stream.key) is stream:
            del self._by_key[stream.key]
