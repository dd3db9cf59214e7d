"""Who may connect: each row of the table of accepted credentials, over real handshakes."""

import asyncio
import base64
import time
from typing import Any

import pytest
from running import Caller, Keys, Service, basic
from waiting import wait_until
from websockets.datastructures import Headers as WireHeaders
from websockets.exceptions import InvalidStatus

Headers = dict[str, str]


async def refusal(service: Service, headers: Any = None) -> tuple[int, list[str]]:
    """Dial, expect an HTTP answer, return its status and the challenges in it."""
    with pytest.raises(InvalidStatus) as refused:
        await Caller.dial(service.url, headers)
    response = refused.value.response
    return response.status_code, response.headers.get_all("WWW-Authenticate")


async def starts(service: Service, name: str, headers: Headers | None = None, **start: Any) -> bool:
    caller = await Caller.dial(service.url, headers)
    await caller.start(name, wait=False, **start)
    try:
        return bool((await caller.hear())["event"] == "started")
    except Exception:  # noqa: BLE001  # whatever closed it, it did not start
        return False
    finally:
        await caller.socket.close()


async def close_code(service: Service, headers: Headers | None, name: str, **start: Any) -> Any:
    caller = await Caller.dial(service.url, headers)
    await caller.start(name, wait=False, **start)
    return await caller.closed()


@pytest.fixture
def by_token(start_service: Any, keys: Keys) -> Service:
    return start_service(SUPPORT_EXOTEL="", JWT_PUBLIC_KEY=keys.public_pem)  # type: ignore[no-any-return]


@pytest.fixture
def by_pair(start_service: Any) -> Service:
    return start_service(  # type: ignore[no-any-return]
        EXOTEL_USERNAME="key", EXOTEL_PASSWORD="pässword", EXOTEL_PASSWORD_NEXT="next"
    )


async def test_a_token_starts_an_interaction_of_its_tenant(
    by_token: Service, keys: Keys, name: str
) -> None:
    assert await starts(by_token, name, keys.bearer(tenant_id="tenant-abc"))


async def test_a_token_of_another_tenant_is_closed_4403(
    by_token: Service, keys: Keys, name: str
) -> None:
    assert await close_code(by_token, keys.bearer(tenant_id="other"), name) == 4403


async def test_a_token_of_another_interaction_is_closed_4403(
    by_token: Service, keys: Keys, name: str
) -> None:
    claims = keys.bearer(tenant_id="tenant-abc", interaction_id="another")
    assert await close_code(by_token, claims, name) == 4403
    claims = keys.bearer(tenant_id="tenant-abc", interaction_id=name)
    assert await starts(by_token, name, claims)


async def test_wrong_tokens_are_401_with_the_method_on_offer(by_token: Service, keys: Keys) -> None:
    now = int(time.time())
    for claims in (
        {"tenant_id": "t", "exp": now - 100},
        {"tenant_id": "t", "iat": now + 1000},
        {"tenant_id": "t", "nbf": now + 1000},
        {"tenant_id": 7},
        {"tenant_id": "a b"},
        {},
    ):
        status, challenges = await refusal(by_token, keys.bearer(**claims))
        assert (status, challenges) == (401, ['Bearer realm="rtaa-ingest"'])
    for header in (f"Bearer {Keys().token(tenant_id='t')}", "Bearer ", "Bearer x.y.z", "Bearer"):
        assert (await refusal(by_token, {"Authorization": header}))[0] == 401


async def test_without_support_for_carriers_only_tokens_come_in(by_token: Service) -> None:
    for headers in (None, basic("key", "word")):
        assert await refusal(by_token, headers) == (401, ['Bearer realm="rtaa-ingest"'])


async def test_audience_and_issuer_are_checked_when_configured(
    start_service: Any, keys: Keys, name: str
) -> None:
    service = start_service(
        SUPPORT_EXOTEL="", JWT_PUBLIC_KEY=keys.public_pem, JWT_AUDIENCE="us", JWT_ISSUER="them"
    )
    right = {"tenant_id": "tenant-abc", "aud": "us", "iss": "them"}
    assert await starts(service, name, keys.bearer(**right))
    for wrong in ({"aud": "x"}, {"iss": "x"}):
        assert (await refusal(service, keys.bearer(**{**right, **wrong})))[0] == 401
    assert (await refusal(service, keys.bearer(tenant_id="tenant-abc")))[0] == 401


async def test_a_configured_pair_is_needed_and_either_password_does(
    by_pair: Service, name: str
) -> None:
    for password in ("pässword", "next"):
        assert await starts(by_pair, f"{name}-{password[0]}", basic("key", password))
    challenge = ['Basic realm="rtaa-ingest"']
    for headers in (None, basic("key", "wrong"), basic("wrong", "next"), basic("key", "")):
        assert await refusal(by_pair, headers) == (401, challenge)


async def test_headers_that_cannot_be_read_are_not_treated_as_absent(
    service: Service, by_pair: Service
) -> None:
    no_colon = base64.b64encode(b"keynext").decode()
    nul = base64.b64encode(b"key:next\0").decode()
    for value in (f"Basic {no_colon}", f"Basic {nul}", "Basic !!!", "Digest x", "x", "Bearer y"):
        assert (await refusal(by_pair, {"Authorization": value}))[0] == 401
        assert (await refusal(service, {"Authorization": value}))[0] == 401
    assert (await refusal(service, basic("key", "next")))[0] == 401


async def test_both_methods_on_offer_are_named(start_service: Any, keys: Keys) -> None:
    service = start_service(
        JWT_PUBLIC_KEY=keys.public_pem, EXOTEL_USERNAME="key", EXOTEL_PASSWORD="word"
    )
    status, challenges = await refusal(service)
    assert status == 401
    assert challenges == ['Bearer realm="rtaa-ingest"', 'Basic realm="rtaa-ingest"']


async def test_without_pair_and_addresses_the_perimeter_is_trusted(
    service: Service, name: str
) -> None:
    assert await starts(service, name)


async def test_a_tenant_that_is_not_open_is_closed_4403(start_service: Any, name: str) -> None:
    service = start_service(EXOTEL_TENANTS="open-1,open-2")
    assert await starts(service, name, tenant="open-2")
    assert await close_code(service, None, name, tenant="tenant-abc") == 4403


async def test_the_address_must_be_inside_and_the_pair_must_match(start_service: Any) -> None:
    service = start_service(
        EXOTEL_ALLOWED_IPS="10.0.0.0/8,fd00::/8", EXOTEL_USERNAME="key", EXOTEL_PASSWORD="word"
    )
    assert (await refusal(service, basic("key", "word")))[0] == 403
    assert (await refusal(service, basic("key", "wrong")))[0] == 401  # the pair comes first


async def test_a_token_needs_no_address(start_service: Any, keys: Keys, name: str) -> None:
    service = start_service(JWT_PUBLIC_KEY=keys.public_pem, EXOTEL_ALLOWED_IPS="10.0.0.0/8")
    assert await starts(service, name, keys.bearer(tenant_id="tenant-abc"))
    assert (await refusal(service))[0] == 403


async def test_the_address_is_counted_from_the_right_over_all_headers(
    start_service: Any, name: str
) -> None:
    service = start_service(EXOTEL_ALLOWED_IPS="10.1.1.1,127.0.0.0/8", TRUSTED_PROXY_HOPS="2")
    inside = [("X-Forwarded-For", "6.6.6.6, 10.1.1.1"), ("X-Forwarded-For", "7.7.7.7")]
    caller = await Caller.dial(service.url, _multi(inside))
    assert (await caller.start(name))["generation"] == 1
    await caller.end()
    for spoofed in ("10.1.1.1, 6.6.6.6, 7.7.7.7", "10.1.1.1", "garbage, 7.7.7.7", ""):
        assert (await refusal(service, {"X-Forwarded-For": spoofed}))[0] == 403
    assert await starts(service, f"{name}-peer")  # no header at all: the peer


@pytest.mark.parametrize(
    "entry",
    ["10.1.1.1:51213", "[fd00::1]", "[fd00::1]:443", "::ffff:10.1.1.1", "[::ffff:10.1.1.1]:1"],
)
async def test_a_forwarded_address_may_carry_a_port_or_brackets(
    start_service: Any, name: str, entry: str
) -> None:
    service = start_service(EXOTEL_ALLOWED_IPS="10.0.0.0/8,fd00::/8", TRUSTED_PROXY_HOPS="1")
    assert await starts(service, name, {"X-Forwarded-For": f"6.6.6.6, {entry}"})
    outside = entry.replace("10.1", "11.1").replace("fd00", "2001:db8")
    assert (await refusal(service, {"X-Forwarded-For": outside}))[0] == 403


async def test_no_forwarded_header_is_trusted_by_default(start_service: Any) -> None:
    service = start_service(EXOTEL_ALLOWED_IPS="10.0.0.0/8")
    assert (await refusal(service, {"X-Forwarded-For": "10.1.1.1"}))[0] == 403


async def test_two_authorization_headers_are_refused(by_pair: Service) -> None:
    value = basic("key", "next")["Authorization"]
    twice = [("Authorization", value), ("Authorization", value)]
    assert (await refusal(by_pair, _multi(twice)))[0] == 401


async def test_when_full_a_handshake_is_503_until_a_place_is_given_back(
    start_service: Any, name: str
) -> None:
    service = start_service(MAX_STREAMS="2")
    first, second = [await Caller.dial(service.url) for _ in range(2)]
    with pytest.raises(InvalidStatus) as refused:
        await Caller.dial(service.url)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"].isdigit()
    assert service.get("/health/ready")[0] == 503
    await first.socket.close()
    await asyncio.to_thread(_until_ready, service)
    assert await starts(service, name)
    await second.socket.close()


async def test_without_a_broker_a_handshake_waits_and_is_503(
    start_service: Any,
) -> None:
    service = start_service(ready=False, REDIS_URL="redis://127.0.0.1:1/0")
    began = asyncio.get_running_loop().time()
    status, _ = await refusal(service)
    assert status == 503
    assert asyncio.get_running_loop().time() - began >= 4
    assert service.get("/health/live")[0] == 200
    assert service.get_json("/health") | {"timestamp": ""} == {
        "status": "degraded",
        "service": "ingest",
        "pubsub": False,
        "timestamp": "",
    }


async def test_handshakes_are_counted_by_outcome(by_pair: Service, name: str) -> None:
    await refusal(by_pair)
    await starts(by_pair, name, basic("key", "next"))
    assert by_pair.metric("ingest_handshakes_total", outcome="unauthenticated") == 1
    assert by_pair.metric("ingest_handshakes_total", outcome="accepted") == 1


def _until_ready(service: Service) -> None:
    wait_until(lambda: service.get("/health/ready")[0] == 200)


def _multi(pairs: list[tuple[str, str]]) -> Any:
    return WireHeaders(pairs)
