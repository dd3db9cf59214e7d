"""Where a broker's name leads: its addresses, and why none of them lets us in."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.failures import unreached
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

RESOLVE_SECONDS = 10.0
"""How long the name may be looked up: a resolver whose first server is dead asks the second after
some seconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """One address of the broker and how it is told; without a family the path of a socket."""

    name: str
    family: int | None = None
    protocol: int = 0
    address: tuple[Any, ...] = ()


async def look_up(address: Address) -> Sequence[Place]:
    """Look up where the broker's name leads.

    Raises:
        BrokerUnavailable: the name has no address, or was not looked up in time.

    """
    if address.path is not None:
        return [Place(address.path)]
    name = f"{address.host}:{address.port}"
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        raise BrokerUnavailable(f"{name}: the name was not looked up in time") from None
    except (OSError, UnicodeError) as error:
        raise told_together([(name, unreached(error, has_tls=False))]) from error
    return [Place(_shown(name, it[4][:2]), it[0], it[2], it[4]) for it in found]


def _shown(name: str, address: Sequence[Any]) -> str:
    """Tell an address, and the name it was found by if that is another."""
    host, port = address
    shown = f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return shown if name == f"{host}:{port}" else f"{name} ({shown})"


def told_together(failures: Sequence[tuple[str, PublisherError]]) -> PublisherError:
    """Tell of each address why it is none; what may pass at one may pass."""
    passing = any(isinstance(error, BrokerUnavailable) for _, error in failures)
    text = "; ".join(f"{name}: {error}" for name, error in failures)
    together = (BrokerUnavailable if passing else BrokerRefused)(text)
    together.__cause__ = failures[0][1].__cause__
    return together
