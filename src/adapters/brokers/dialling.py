"""From a server's name to a connected socket, with time-outs and causes of failures."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.brokers.telling import NO_CONNECTION, tell_of_socket
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

RESOLVE_SECONDS = 10.0
"""The time-out of a look-up: a resolver whose first server is dead asks the second one after some
seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a server, and its name in messages."""

    name: str
    family: int
    protocol: int
    address: tuple[Any, ...]


def told(host: str, port: int) -> str:
    """Write host and port in the form of a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def look_up(host: str, port: int) -> Sequence[Place]:
    """Look up a name; messages show an address together with the name if they differ.

    Raises:
        BrokerUnavailable: the name has no address, or was not looked up in time.

    """
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except TimeoutError as error:
        raise BrokerUnavailable("the name was not looked up in time") from error
    except (OSError, UnicodeError) as error:
        raise BrokerUnavailable(tell_of_socket(error)) from error
    name = told(host, port)
    places = []
    for family, _, protocol, _, address in found:
        shown = told(str(address[0]), int(address[1]))
        places.append(
            Place(name if shown == name else f"{name} ({shown})", family, protocol, address)
        )
    return places


async def connect_socket(place: Place, seconds: float) -> socket.socket:
    """Connect a socket.

    Raises:
        OSError: it was not accepted; a `TimeoutError` says what that means.

    """
    connecting = socket.socket(place.family, socket.SOCK_STREAM, place.protocol)
    try:
        connecting.settimeout(0)  # as asyncio needs it
        async with limit(seconds, NO_CONNECTION):
            await asyncio.get_running_loop().sock_connect(connecting, place.address)
    except BaseException:
        connecting.close()
        raise
    return connecting


@asynccontextmanager
async def limit(seconds: float, message: str) -> AsyncIterator[None]:
    """Set a time-out, and say what it means if it is exceeded."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(message) from error


def told_together(failures: Sequence[tuple[str, PublisherError]]) -> PublisherError:
    """Combine the errors of all addresses; the result is transient if one of them is."""
    passing = any(isinstance(error, BrokerUnavailable) for _, error in failures)
    text = "; ".join(f"{name}: {error}" for name, error in failures)
    together = (BrokerUnavailable if passing else BrokerRefused)(text)
    together.__cause__ = failures[0][1].__cause__ or failures[0][1]
    return together
