"""A stream that this process writes, and the table of all of them."""

from dataclasses import dataclass

from application.outbox import Outbox
from application.ports.clock import Clock
from application.ports.publisher import Lease
from application.publication import Publication
from domain.events import Opening
from domain.identifiers import StreamKey
from domain.interaction import Grant, Interaction, State


@dataclass(frozen=True, slots=True, eq=False)
class LiveStream:
    """One generation of one stream: the interaction and the way of its events out.

    `has_token` says that its run was begun with a token, as far as this process knows;
    `run_started_at` is monotonic, in seconds, of the first of its generations in this process.
    """

    interaction: Interaction
    outbox: Outbox
    has_token: bool
    run_started_at: float

    @property
    def key(self) -> StreamKey:
        """Which stream it is."""
        return self.interaction.opening.stream

    @property
    def is_given_up(self) -> bool:
        """Whether nobody speaks or publishes here any more: whoever comes next is right."""
        return self.outbox.failure is not None or self.interaction.state is not State.LIVE


class LiveStreams:
    """The streams this process holds, each under the newest generation it was given."""

    def __init__(self, publication: Publication, clock: Clock) -> None:
        self._publication = publication
        self._clock = clock
        self._by_key: dict[StreamKey, LiveStream] = {}

    def keys(self) -> list[StreamKey]:
        """Return which streams are held."""
        return list(self._by_key)

    def get(self, key: StreamKey) -> LiveStream | None:
        """Return the stream held under `key`."""
        return self._by_key.get(key)

    def open(self, opening: Opening, owner: str, grant: Grant, *, has_token: bool) -> LiveStream:
        """Hold the stream that `owner` was granted, from now on."""
        older = self._by_key.get(opening.stream)
        run = older if grant.resumed else None
        interaction = Interaction(opening)
        interaction.start(grant)
        lease = Lease(opening.stream, grant.generation, owner)
        stream = LiveStream(
            interaction,
            self._publication.outbox(interaction, lease, older.outbox if older else None),
            has_token=has_token if run is None else run.has_token,
            run_started_at=self._clock.monotonic() if run is None else run.run_started_at,
        )
        self._enter(stream)
        return stream

    def _enter(self, stream: LiveStream) -> None:
        """Supersede the loser of two generations of one stream.

        A generation that was given up loses even to a lower one: the destination may have
        forgotten the stream, and count its generations anew.
        """
        held = self._by_key.get(stream.key)
        winner, loser = stream, held
        if (
            held is not None
            and not held.is_given_up
            and held.interaction.generation > stream.interaction.generation
        ):
            winner, loser = held, stream
        self._by_key[stream.key] = winner
        if loser is not None:
            loser.outbox.supersede(winner.interaction.generation)

    def leave(self, stream: LiveStream) -> None:
        """Let go of `stream`, if it is still the one that is held."""
        if self._by_key.get(stream.key) is stream:
            del self._by_key[stream.key]
