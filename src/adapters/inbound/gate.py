"""Who gets past the handshake, and the HTTP answer to who does not."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.inbound.authorization import read_credential
from adapters.inbound.brake import Brake
from adapters.inbound.client_address import client_address
from adapters.inbound.roster import Roster
from application.admit_sender import AddressRefused, AdmitSender, Unauthenticated
from application.broker_watch import BrokerWatch
from application.ports.places import Places
from application.ports.telemetry import Telemetry
from domain.access import Sender

BROKER_WAIT_SECONDS = 5.0
"""How long a handshake waits for the broker: carriers give up after 10 s and retry only once."""

RETRY_AFTER_SECONDS = b"5"
OUTCOMES = (
    "accepted",
    "unauthenticated",
    "address_refused",
    "too_many_failures",
    "draining",
    "full",
    "no_broker",
)
"""What becomes of handshakes, as it is counted."""

REALM = b'realm="rtaa-ingest"'

_log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class HttpRefusal:
    """The HTTP answer to a handshake that is not accepted."""

    status: int
    headers: Headers
    body: bytes


class Gate:
    """Checks handshakes: credential, address, draining, capacity, broker, in this order."""

    def __init__(
        self,
        admit_sender: AdmitSender,
        capacity: Places,
        broker_watch: BrokerWatch,
        roster: Roster,
        brake: Brake,
        telemetry: Telemetry,
        *,
        trusted_proxy_hops: int,
    ) -> None:
        self._admit_sender = admit_sender
        self._capacity = capacity
        self._broker_watch = broker_watch
        self._roster = roster
        self._brake = brake
        self._telemetry = telemetry
        self._trusted_proxy_hops = trusted_proxy_hops

    async def enter(self, peer: str | None, headers: Headers) -> Sender | HttpRefusal:
        """Return who enters, holding a place to be given back by `leave`; or the refusal."""
        sender = await self._identify(peer, headers)
        if isinstance(sender, HttpRefusal):
            return sender
        refusal = await self._take_place()
        if refusal is not None:
            return refusal
        self._telemetry.handshake("accepted")
        return sender

    async def _identify(self, peer: str | None, headers: Headers) -> Sender | HttpRefusal:
        credential = read_credential(_values(headers, b"authorization"))
        forwarded_for = _values(headers, b"x-forwarded-for")
        address = client_address(peer, forwarded_for, self._trusted_proxy_hops)
        try:
            return self._admit_sender(credential, address)
        except AddressRefused as why:
            return self._refuse(403, "address_refused", str(why))
        except Unauthenticated as why:
            if await self._brake.on_failure(str(address or peer)):
                return self._refuse(401, "unauthenticated", str(why), self._challenges())
            return self._refuse(429, "too_many_failures", str(why), [_RETRY_AFTER])

    async def _take_place(self) -> HttpRefusal | None:
        refusal = self._refuse_if_draining()
        if refusal is not None:
            return refusal
        if not self._capacity.take():
            return self._refuse(503, "full", "no place left", [_RETRY_AFTER])
        enters = False
        try:
            broker_is_up = self._broker_watch.is_up or await self._wait_for_broker()
            refusal = self._refuse_if_draining()
            if refusal is None and not broker_is_up:
                why = "the broker takes no writes"
                refusal = self._refuse(503, "no_broker", why, [_RETRY_AFTER])
            enters = refusal is None
        finally:
            if not enters:
                self.leave()
        return refusal

    async def _wait_for_broker(self) -> bool:
        """Wait for the broker; not when the service drains."""
        waiting = (
            asyncio.create_task(self._broker_watch.wait_until_up(BROKER_WAIT_SECONDS)),
            asyncio.create_task(self._roster.wait_until_draining()),
        )
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return waiting[0].done() and waiting[0].result()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _refuse_if_draining(self) -> HttpRefusal | None:
        if not self._roster.is_draining:
            return None
        return self._refuse(503, "draining", "the service is stopping", [_RETRY_AFTER])

    def leave(self) -> None:
        """Give back the place of one who entered."""
        self._capacity.give_back()

    def _refuse(self, status: int, outcome: str, why: str, headers: Headers = ()) -> HttpRefusal:
        self._telemetry.handshake(outcome)
        _log.warning("handshake refused", extra={"status": status, "why": why})
        body = _BODIES[status]
        length = (b"content-length", str(len(body)).encode())
        kind = (b"content-type", b"text/plain; charset=utf-8")
        return HttpRefusal(status, [*headers, kind, length], body)

    def _challenges(self) -> Headers:
        """Name every method on offer; a 401 names at least one (RFC 9110 §15.5.2)."""
        challenges = []
        if self._admit_sender.takes_tokens or not self._admit_sender.takes_pairs:
            challenges.append((b"www-authenticate", b"Bearer " + REALM))
        if self._admit_sender.takes_pairs:
            challenges.append((b"www-authenticate", b"Basic " + REALM))
        return challenges


_RETRY_AFTER = (b"retry-after", RETRY_AFTER_SECONDS)
_BODIES = {
    401: b"unauthenticated\n",
    403: b"forbidden\n",
    429: b"too many failures\n",
    503: b"unavailable\n",
}


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]
