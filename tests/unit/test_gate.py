import asyncio
from base64 import b64encode
from ipaddress import ip_network

import pytest
from begun import hold_a_stream

from adapters.inbound.access import brake
from adapters.inbound.access import gate as gate_module
from adapters.inbound.access.brake import FREE_FAILURES, Brake
from adapters.inbound.access.gate import Gate
from adapters.inbound.handshake import Handshake
from adapters.inbound.reporting.refusals import Headers, Refusal
from adapters.inbound.reporting.reports import Reports
from adapters.outbound.in_memory import InMemory
from adapters.outbound.prometheus.telemetry import PrometheusTelemetry
from adapters.outbound.system_clock import SystemClock
from application.access.admit_sender import AccessPolicy, AdmitSender
from application.access.capacity import Capacity
from application.call.roster import Roster
from application.delivery.byte_budget import BufferLimits
from application.delivery.sender import Sender
from application.ports.destination import DestinationOptions
from application.ports.errors import InvalidToken
from application.ports.tokens import TokenClaims, TokenVerifier
from application.watch.broker_watch import BrokerWatch
from domain.access import Principal
from domain.events import Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat

PAIR = b"exotel:s3cret"
RIGHT = (b"Authorization", b"Basic " + b64encode(PAIR))
WRONG = (b"authorization", b"Basic " + b64encode(b"exotel:wrong"))
INSIDE, OUTSIDE = "203.0.113.7", "198.51.100.1"


class OneToken(TokenVerifier):
    def verify(self, token: str) -> TokenClaims:
        if token != "of-alice":
            raise InvalidToken("token refused")
        return TokenClaims("alice", None)


def handshake_of(peer: str | None, *headers: tuple[bytes, bytes]) -> Handshake:
    client = None if peer is None else (peer, 50_000)
    return Handshake.of(
        {
            "path": "/v1/ingest",
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
            "client": client,
        }
    )


class GateBench:
    """A gate on which every configured check can fail."""

    def __init__(
        self, *, places: int = 1, hops: int = 0, pairs: tuple[bytes, ...] = (PAIR,)
    ) -> None:
        policy = AccessPolicy(carriers=True, pairs=pairs, networks=(ip_network("203.0.113.0/24"),))
        telemetry, clock = PrometheusTelemetry(), SystemClock()
        self.destination = InMemory().connect(DestinationOptions(), {})
        self.sender = Sender(
            self.destination, clock, telemetry, BufferLimits(), retention_seconds=60
        )
        self.watch = BrokerWatch(self.destination, self.sender, clock, telemetry)
        self.capacity = Capacity(places)
        self.roster = Roster(telemetry)
        self.reports = Reports(telemetry, trusted_proxy_hops=hops)
        self.gate = Gate(
            AdmitSender(policy, OneToken()),
            self.capacity,
            self.watch,
            self.roster,
            Brake(clock),
            self.reports,
        )

    def is_full(self) -> bool:
        return self.capacity.is_full

    async def enter(self, peer: str | None, *headers: tuple[bytes, bytes]) -> Principal | Refusal:
        await self.watch.check()
        return await self.ask(peer, *headers)

    async def ask(self, peer: str | None, *headers: tuple[bytes, bytes]) -> Principal | Refusal:
        """Ask the gate, and not the broker before."""
        handshake = handshake_of(peer, *headers)
        origin = self.reports.origin(peer, handshake.header("x-forwarded-for"))
        return await self.gate.enter(handshake, origin)

    async def status(self, peer: str | None, *headers: tuple[bytes, bytes]) -> int:
        answer = await self.enter(peer, *headers)
        return answer.status if isinstance(answer, Refusal) else 101


def values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


async def test_a_sender_that_passes_every_check_enters_and_holds_a_place() -> None:
    bench = GateBench()
    assert await bench.enter(INSIDE, RIGHT) == Principal()
    assert bench.is_full()
    bench.gate.leave()
    assert not bench.is_full()
    token = (b"AUTHORIZATION", b"Bearer of-alice")
    assert await bench.enter(OUTSIDE, token) == Principal(token_tenant=TenantId("alice"))


async def test_refusals_come_in_the_order_of_the_contract(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_module, "BROKER_WAIT_SECONDS", 0.01)
    bench = GateBench(places=0)
    bench.destination.memory.is_plugged = False
    assert await bench.status(OUTSIDE, WRONG) == 401
    assert await bench.status(OUTSIDE, RIGHT) == 403
    assert await bench.status(INSIDE, RIGHT) == 503


async def test_a_401_names_each_method_on_offer_and_not_what_was_wrong() -> None:
    bench = GateBench()
    answers = [
        await bench.enter(INSIDE, *headers)
        for headers in ([], [WRONG], [RIGHT, RIGHT], [(b"authorization", b"Bearer x")])
    ]
    for answer in answers:
        assert isinstance(answer, Refusal)
        assert (answer.status, answer.body) == (401, b"unauthorized\n")
        assert isinstance(answers[0], Refusal)
        assert answer.all_headers == answers[0].all_headers
        challenges = values(answer.headers, b"www-authenticate")
        assert [challenge.split()[0] for challenge in challenges] == [b"Bearer", b"Basic"]


@pytest.mark.parametrize(
    ("address", "other", "hops"),
    [
        ("2001:db8::{}", "2001:db8:0:1::1", 0),
        ("2001:db8::{}", "2001:db8:0:1::1", 1),  # without the header: the peer's own
        ("fe80::{}%eth0", "fe80:0:0:1::1%eth0", 0),
    ],
)
async def test_guesses_from_one_network_of_ipv6_are_those_of_one_host(
    address: str, other: str, hops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brake, "MAX_WAITING", 0)  # who is to be delayed is refused at once
    bench = GateBench(hops=hops)
    told = [await bench.status(address.format(n), WRONG) for n in range(1, FREE_FAILURES + 1)]
    assert told == [401] * (FREE_FAILURES - 1) + [429]
    assert await bench.status(other, WRONG) == 401


async def test_guesses_from_addresses_that_are_not_known_are_their_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(brake, "MAX_WAITING", 0)
    bench = GateBench(hops=1)
    unknown = (b"x-forwarded-for", b"unknown")
    told = [
        await bench.status(f"2001:db8::{n}", WRONG, unknown) for n in range(1, FREE_FAILURES + 1)
    ]
    assert told[-2:] == [401, 429]
    assert await bench.status("10.0.0.1", WRONG, unknown) == 401
    assert await bench.status(None, WRONG) == 401


@pytest.mark.parametrize("is_down", [True, False])
async def test_a_503_says_when_to_come_again_and_holds_no_place(
    is_down: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "BROKER_WAIT_SECONDS", 0.01)
    bench = GateBench(places=int(is_down))
    if is_down:
        bench.destination.memory.is_plugged = False
    answer = await bench.enter(INSIDE, RIGHT)
    assert isinstance(answer, Refusal)
    assert answer.status == 503
    assert values(answer.headers, b"retry-after")
    assert not is_down or not bench.is_full()


async def test_a_handshake_that_meets_no_broker_waits_for_it() -> None:
    bench = GateBench()
    waiting = asyncio.create_task(bench.ask(INSIDE, RIGHT))
    await asyncio.sleep(0)
    assert not waiting.done()
    await bench.watch.check()
    assert await asyncio.wait_for(waiting, 1) == Principal()


async def test_a_handshake_waits_for_a_broker_that_has_not_proved_yet_what_it_has() -> None:
    bench = GateBench()
    stream = StreamKey(TenantId("tenant"), StreamId("call"))
    opening = Opening(stream, InteractionId("call"), "d", MediaFormat(8_000), 0)
    await hold_a_stream(bench.sender, bench.destination, opening)
    bench.destination.memory.is_plugged = False
    await bench.watch.check()
    bench.destination.memory.plug()
    waiting = asyncio.create_task(bench.enter(INSIDE, RIGHT))
    while not bench.is_full():
        await asyncio.sleep(0)
    assert not bench.watch.is_up
    assert not waiting.done()
    publishing = asyncio.create_task(bench.sender.run())
    async with asyncio.timeout(10):
        while not bench.sender.is_in_sync():
            await asyncio.sleep(0)
        await bench.watch.check()
        assert await waiting == Principal()
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)


async def test_a_handshake_that_waits_for_the_broker_while_the_drain_begins_is_refused() -> None:
    bench = GateBench()
    waiting = asyncio.create_task(bench.ask(INSIDE, RIGHT))
    await asyncio.sleep(0)
    await bench.roster.drain(0, lambda: True)
    await bench.watch.check()
    refusal = await asyncio.wait_for(waiting, 1)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503
    assert not bench.is_full()


async def test_a_handshake_that_gives_up_waiting_gives_its_place_back() -> None:
    bench = GateBench()
    waiting = asyncio.create_task(bench.ask(INSIDE, RIGHT))
    await asyncio.sleep(0)
    assert bench.is_full()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not bench.is_full()


@pytest.mark.parametrize(
    ("forwarded_for", "status"),
    [
        ([], 101),
        ([INSIDE], 101),
        ([f"{OUTSIDE}, {INSIDE}"], 101),
        ([OUTSIDE, f"::ffff:{INSIDE}"], 101),
        ([f"{INSIDE}, {OUTSIDE}"], 403),
        (["garbage"], 403),
        ([""], 403),
    ],
)
async def test_behind_a_proxy_the_forwarded_address_counts(
    forwarded_for: list[str], status: int
) -> None:
    headers = [(b"X-Forwarded-For", header.encode()) for header in forwarded_for]
    assert await GateBench(hops=1).status(INSIDE, RIGHT, *headers) == status


@pytest.mark.parametrize("peer", [None, "", OUTSIDE])
async def test_without_a_proxy_a_forwarded_address_does_not_count(peer: str | None) -> None:
    assert await GateBench().status(peer, RIGHT, (b"x-forwarded-for", INSIDE.encode())) == 403
