"""Admits or refuses handshakes."""

import asyncio

from adapters.inbound.access.authorization import read_credential
from adapters.inbound.access.brake import Brake
from adapters.inbound.handshake import Handshake
from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.refusals import Headers, Outcome, Refusal
from adapters.inbound.reporting.reports import Reports
from application.access.admit_sender import AddressRefused, AdmitSender, Unauthenticated
from application.call.roster import Roster
from application.ports.places import Places
from application.watch.broker_watch import BrokerWatch
from domain.access import Principal

BROKER_WAIT_SECONDS = 5.0
"""How long a handshake waits for the broker: carriers give up after 10 s and retry only once."""

RETRY_AFTER_SECONDS = b"5"
REALM = b'realm="rtaa-ingest"'


class Gate:
    """Checks handshakes: credential, address, draining, capacity, broker, in this order."""

    def __init__(
        self,
        admit_sender: AdmitSender,
        capacity: Places,
        broker_watch: BrokerWatch,
        roster: Roster,
        brake: Brake,
        reports: Reports,
    ) -> None:
        self._admit_sender = admit_sender
        self._capacity = capacity
        self._broker_watch = broker_watch
        self._roster = roster
        self._brake = brake
        self._reports = reports

    async def enter(self, handshake: Handshake, origin: Origin) -> Principal | Refusal:
        """Return the admitted sender, whose place `leave` gives back; or the refusal."""
        admitted = await self._admit(handshake, origin)
        if isinstance(admitted, Refusal):
            self._reports.refused(admitted, origin)
        else:
            self._reports.accepted(origin)
        return admitted

    async def _admit(self, handshake: Handshake, origin: Origin) -> Principal | Refusal:
        principal = await self._identify(handshake, origin)
        if isinstance(principal, Refusal):
            return principal
        return await self._take_place() or principal

    async def _identify(self, handshake: Handshake, origin: Origin) -> Principal | Refusal:
        credential = read_credential(handshake.header("authorization"))
        try:
            return self._admit_sender(credential, origin.address)
        except AddressRefused as why:
            is_known = origin.address is not None
            outcome = Outcome.ADDRESS_REFUSED if is_known else Outcome.ADDRESS_UNKNOWN
            return Refusal(outcome, f"{why}{origin.reading}")
        except Unauthenticated as why:
            if await self._brake.on_failure(origin.host):
                return Refusal(Outcome.UNAUTHENTICATED, str(why), self._challenges())
            return Refusal(Outcome.TOO_MANY_FAILURES, str(why), [_RETRY_AFTER])

    async def _take_place(self) -> Refusal | None:
        refusal = self._refuse_if_draining()
        if refusal is not None:
            return refusal
        if not self._capacity.take():
            return Refusal(Outcome.FULL, "MAX_STREAMS connections are open", [_RETRY_AFTER])
        enters = False
        try:
            broker_is_up = self._broker_watch.is_up or await self._wait_for_broker()
            refusal = self._refuse_if_draining()
            if refusal is None and not broker_is_up:
                why = "the broker takes no writes"
                refusal = Refusal(Outcome.NO_BROKER, why, [_RETRY_AFTER])
            enters = refusal is None
        finally:
            if not enters:
                self.leave()
        return refusal

    async def _wait_for_broker(self) -> bool:
        """Wait for the broker, unless the service drains."""
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

    def _refuse_if_draining(self) -> Refusal | None:
        if not self._roster.is_draining:
            return None
        return Refusal(Outcome.DRAINING, "the service is stopping", [_RETRY_AFTER])

    def leave(self) -> None:
        """Give back the place of an admitted sender."""
        self._capacity.give_back()

    def _challenges(self) -> Headers:
        """Return a challenge for every accepted method; a 401 needs one (RFC 9110 §15.5.2)."""
        challenges = []
        if self._admit_sender.takes_tokens or not self._admit_sender.takes_pairs:
            challenges.append((b"www-authenticate", b"Bearer " + REALM))
        if self._admit_sender.takes_pairs:
            challenges.append((b"www-authenticate", b"Basic " + REALM))
        return challenges


_RETRY_AFTER = (b"retry-after", RETRY_AFTER_SECONDS)
