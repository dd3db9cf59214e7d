"""NATS JetStream as a destination: its settings, its connections, advice for the operator."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from adapters.outbound.nats_jetstream import requests
from adapters.outbound.nats_jetstream.access import Access
from adapters.outbound.nats_jetstream.address import (
    ACCEPTED,
    ACCEPTED_CREDENTIALS,
    Address,
    complaint,
    complaint_of_credentials,
    shown,
)
from adapters.outbound.nats_jetstream.advice import advice
from adapters.outbound.nats_jetstream.layout import Layout
from adapters.outbound.nats_jetstream.open_runs import PROBE_TTL, JetStreamOpenRuns
from adapters.outbound.nats_jetstream.protocol import Reply, Request
from adapters.outbound.nats_jetstream.publication import publication
from adapters.outbound.nats_jetstream.reader import JetStreamReader
from adapters.outbound.nats_jetstream.rights import user_rule
from adapters.outbound.nats_jetstream.store import JetStreamStore
from application.ports.destination import (
    Destination,
    DestinationOptions,
    Problem,
    StoreAdapter,
    VariableHelp,
)
from application.ports.publication import Publication

URL, CREDENTIALS = "NATS_URL", "NATS_CREDENTIALS"

HELP = {
    URL: VariableHelp(
        ACCEPTED,
        "for `nats_jetstream`: the servers ([below](#the-urls-of-brokers))",
        is_required=True,
    ),
    CREDENTIALS: VariableHelp(
        ACCEPTED_CREDENTIALS,
        "instead of a login in `NATS_URL`: set `NATS_CREDENTIALS_FILE`, the path of the file",
    ),
}

IMPOSSIBLE = b"Nats-Expected-Last-Subject-Sequence: 1\r\n"
"""An expected sequence that never matches: nothing is stored, but missing rights are reported."""

PROBE_SECONDS = 1.8
"""How long the probe may take; a stream without a leader does not answer."""


class JetStreamDestination(Destination):
    """One connection for writes, and another one for reads."""

    def __init__(self, options: DestinationOptions, address: Address) -> None:
        layout = self._layout = Layout(options.prefix)
        self._access = Access(address, layout, options)
        self._reading = Access(address, layout, options)
        self.store = JetStreamStore(self._access)
        self.reader = JetStreamReader(self._reading)
        self.open_runs = JetStreamOpenRuns(self._access)

    async def close(self) -> None:
        """Disconnect."""
        await self._access.close()
        await self._reading.close()

    async def verify_writable(self) -> None:
        """Try everything that publishing does, with subjects that belong to no call.

        The answers also show whether another server leads the streams now.
        """
        with self._access.asking_leader():
            await self._verify()

    async def _verify(self) -> None:
        layout = self._layout
        names = (layout.audio, layout.open)
        replies = await self._access.run(
            [
                *(requests.info(name) for name in names),
                Request(layout.audio_probe, b"", PROBE_TTL),
                Request(layout.open_probe, b"", PROBE_TTL),
                Request(layout.no_batch, b"", IMPOSSIBLE),
                Request(layout.no_heartbeat, b"", IMPOSSIBLE),
                requests.last(layout.audio, layout.audio_probe),
                requests.last(layout.open, layout.open_probe),
                requests.delete(layout.open, 0),
            ],
            PROBE_SECONDS,
        )
        for reply in replies:
            if isinstance(reply, Reply):
                if reply.status:
                    self._access.note_lacking()
                else:
                    self._access.note_lacking(requests.answer(reply))
        for reply in replies[:2]:
            told = requests.checked(reply)
            self._access.check(told)
            self._access.note_place(told)
        for reply, name in zip(replies[2:4], names, strict=True):
            requests.stored(reply, name)
        for reply in replies[4:]:  # nothing is found, stored or removed, but each is allowed
            requests.answer(reply)

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        """Warn of possible losses and of too little space. See `Destination.advise`."""
        return await advice(self._reading, expected_bytes)


class NatsJetStream(StoreAdapter):
    """The adapter for `PUBSUB_ADAPTER=nats_jetstream`."""

    name = "nats_jetstream"
    is_shared = True
    variables = tuple(HELP)
    variable_help = HELP

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:
        """Check the variables, without repeating secrets."""
        url, credentials = environment.get(URL, ""), environment.get(CREDENTIALS)
        found = complaint(url) if url else "nothing"
        problems = [] if found is None else [Problem(URL, found, ACCEPTED)]
        if credentials is not None:
            found = complaint_of_credentials(credentials)
            if found is None and "@" in url:
                found = f"a login in {URL} beside it"
            if found is not None:
                problems.append(Problem(CREDENTIALS, found, ACCEPTED_CREDENTIALS))
        return problems

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Show `NATS_URL` without its login."""
        told = {URL: shown(environment[URL])}
        if environment.get(CREDENTIALS):
            told[CREDENTIALS] = "***"
        return told

    def grants(self, options: DestinationOptions) -> Sequence[str]:
        """Return the user that the server's configuration needs."""
        return [user_rule(Layout(options.prefix))]

    def publication(self, options: DestinationOptions) -> Publication:
        """Describe subjects and messages. See `StoreAdapter.publication`."""
        return publication(options.prefix)

    def connect(
        self, options: DestinationOptions, environment: Mapping[str, str]
    ) -> JetStreamDestination:
        """Construct the client; it connects when it is first used."""
        address = Address.of(environment[URL], environment.get(CREDENTIALS))
        return JetStreamDestination(options, address)

    @contextmanager
    def embedded(self) -> Iterator[Mapping[str, str]]:
        """Start an embedded server. See `StoreAdapter.embedded`."""
        from adapters.outbound.nats_jetstream.embedded import EmbeddedNats  # noqa: PLC0415

        with EmbeddedNats() as server:
            yield {URL: server.url}
