"""The listening sockets for `HOST` and the ports, or their problems.

The process binds its sockets before it builds anything else, so an unusable address is a wrong
value like any other. A name stands for all of its addresses that this machine has. IPv4 and IPv6
get a socket each, `::` stands for both, so a peer always appears with its own address.
"""

import errno
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from application.ports.destination import Problem
from entrypoints.configuration import InvalidSettings
from entrypoints.setting_groups import VARIABLES
from entrypoints.value_kinds import show

ANY_IPV4 = "0.0.0.0"

_OF_ANOTHER_MACHINE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListeningSocket(socket.socket):
    """A socket that, out of descriptors, fails once and then reports no waiting connection.

    In one turn asyncio accepts until no connection waits, up to the backlog. At each failure it
    logs, and sets a timer to listen again: 2,048 failures would block the loop for 0.1 s.
    """

    _has_failed = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection. See `socket.socket.accept`."""
        if self._has_failed:
            self._has_failed = False
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            self._has_failed = error.errno in OUT_OF_DESCRIPTORS
            raise


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port to listen on, and the variable that the port is the value of.

    `scope` tells link-local addresses of interfaces apart.
    """

    family: socket.AddressFamily
    address: str
    port: int
    variable: str
    scope: int = 0

    def __str__(self) -> str:
        is_ipv6 = self.family == socket.AF_INET6
        return f"[{self.address}]:{self.port}" if is_ipv6 else f"{self.address}:{self.port}"


def problems_of(host: str, ports: Mapping[str, int]) -> Sequence[Problem]:
    """Try to listen at each of `ports`, by their variables; return what is wrong."""
    problems: list[Problem] = []
    for variable, port in ports.items():
        try:
            find_endpoints(host, {variable: port})
        except InvalidSettings as error:
            problems += error.problems
    return list(dict.fromkeys(problems))  # a wrong `HOST` is one for each port


def find_endpoints(host: str, ports: Mapping[str, int]) -> tuple[Endpoint, ...]:
    """Return where to listen for `HOST` and `ports`, after an exclusive test.

    Port 0 becomes one that is free, and none of the others.

    Raises:
        InvalidSettings: at none of the addresses, or a process listens at one.

    """
    with ExitStack() as tried:
        return tuple(
            endpoint
            for variable, port in sorted(ports.items(), key=lambda item: -item[1])  # 0 comes last
            for endpoint in _find(host, variable, port, tried)
        )


def _find(host: str, variable: str, port: int, tried: ExitStack) -> list[Endpoint]:
    """Return where to listen for one port; it stays taken until `tried` is closed."""
    found: list[Endpoint] = []
    refused: InvalidSettings | None = None
    is_name = _literal(host) is None
    for endpoint in _resolve(host, variable, port):
        wanted = replace(endpoint, port=found[0].port) if found else endpoint
        try:
            bound = tried.enter_context(closing(_bind_one(wanted, is_shared=False)))
            found.append(replace(wanted, port=bound.getsockname()[1]))
        except OSError as error:
            refused = InvalidSettings([_problem(error, host, wanted)])
            if error.errno not in _OF_ANOTHER_MACHINE or not (is_name or found):
                raise refused from error
    if not found and refused is not None:
        raise refused
    return found


def bind(endpoints: Sequence[Endpoint], *, is_shared: bool = False) -> list[socket.socket]:
    """Return a bound socket for each, not yet listening; `is_shared` sets SO_REUSEPORT.

    Raises:
        InvalidSettings: a process has come to listen there.

    """
    with ExitStack() as on_failure:
        sockets = []
        for endpoint in endpoints:
            try:
                sockets.append(_bind_one(endpoint, is_shared=is_shared))
            except OSError as error:
                problem = _problem(error, endpoint.address, endpoint)
                raise InvalidSettings([problem]) from error
            on_failure.callback(sockets[-1].close)
        on_failure.pop_all()
    return sockets


def endpoint_of(bound: socket.socket, ports: Mapping[str, int]) -> Endpoint:
    """Return where a socket is bound; one whose port is none of `ports` is that of port 0."""
    address, port = bound.getsockname()[:2]
    variable = next((name for name, number in ports.items() if number == port), "PORT")
    return Endpoint(socket.AddressFamily(bound.family), address, port, variable)


def too_late(
    error: OSError, sockets: Sequence[socket.socket], ports: Mapping[str, int]
) -> InvalidSettings:
    """Return the problems if bound sockets cannot listen because another process does."""
    deaf = [it for it in sockets if not it.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
    endpoint = endpoint_of((deaf or sockets)[0], ports)
    return InvalidSettings([_problem(error, endpoint.address, endpoint)])


def _resolve(host: str, variable: str, port: int) -> list[Endpoint]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        found_host = f"{show(host)}, a name without an address"
        raise InvalidSettings([Problem("HOST", found_host, VARIABLES["HOST"].accepted)]) from error
    endpoints = [
        Endpoint(family, str(address), port, variable, int(scope[-1]) if scope else 0)
        for family, _, _, _, (address, _, *scope) in found
    ]
    literal = _literal(host)
    if isinstance(literal, IPv6Address) and literal.is_unspecified:
        endpoints.append(Endpoint(socket.AF_INET, ANY_IPV4, port, variable))
    return list(dict.fromkeys(endpoints))


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `HOST` is; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _bind_one(endpoint: Endpoint, *, is_shared: bool) -> socket.socket:
    with ExitStack() as on_failure:
        # asyncio sends small replies at once only where the protocol is named
        bound = ListeningSocket(endpoint.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        on_failure.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_shared))
        address: tuple[str | int, ...] = (endpoint.address, endpoint.port)
        if endpoint.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            address = (*address, 0, endpoint.scope)
        bound.bind(address)
        on_failure.pop_all()
    return bound


def _problem(error: OSError, host: str, endpoint: Endpoint) -> Problem:
    variable = endpoint.variable
    if error.errno == errno.EADDRINUSE:
        found = (
            f"{endpoint.port}, which is in use: a process listens at {endpoint} already, "
            "perhaps this service"
        )
        return Problem(variable, found, VARIABLES[variable].accepted)
    if error.errno in _FORBIDDEN:
        found = f"{endpoint.port}, which this user may not listen on at {endpoint.address}"
        return Problem(
            variable, found, f"{VARIABLES[variable].accepted}; below 1024 it may need a right"
        )
    if error.errno == errno.EAFNOSUPPORT:
        found = f"{show(host)}, of a family of addresses that this machine does not have"
    elif error.errno in _OF_ANOTHER_MACHINE:
        found = f"{show(host)}, no address of this machine"
    else:
        found = f"{show(host)}, which cannot be listened on: {error.strerror}"
    return Problem("HOST", found, VARIABLES["HOST"].accepted)
