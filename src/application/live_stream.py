"""A stream that this process writes, and the table of all of them."""

from dataclasses import dataclass

from application.outbox import Outbox
from application.ports.clock import Clock
from application.publication import Publication
from domain.account import Grant, State
from domain.events import Opening
from domain.identifiers import StreamKey
from domain.interaction import Interaction


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
        return self.outbox.is_fenced or self.interaction.state is not State.LIVE


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
        has_token = has_token if run is None else run.has_token
        stream = LiveStream(
            interaction,
            self._publication.outbox(interaction, grant, owner, has_token=has_token),
            has_token=has_token,
            run_started_at=self._clock.monotonic() if run is None else run.run_started_at,
        )
        self._enter(stream)
        return stream

    def _enter(self, stream: LiveStream) -> None:
        """Hold the newer of two generations of one stream.

        A generation that was given up loses even to a lower one: the destination may have
        forgotten the stream, and count its generations anew.
        """
        held = self._by_key.get(stream.key)
        newest = 0 if held is None or held.is_given_up else held.interaction.generation
        if newest > stream.interaction.generation:
            stream.outbox.supersede(newest)
            return
        self._by_key[stream.key] = stream
        self._publication.hold(stream.outbox)

    def leave(self, stream: LiveStream) -> None:
        """Let go of `stream`: nothing more is said here, and what is held of it ages."""
        stream.outbox.let_go()
        if self._by_key.get(stream.key) is stream:
            del self._by_key[stream.key]
