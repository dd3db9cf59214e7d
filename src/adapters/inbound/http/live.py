"""The live page: one file without external resources, and the events that fill it."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.exceptions import ClientException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.response import Stream

from adapters.inbound.http.live_data import plain_line, plain_overview
from application.overview.audience import Audience, TooManyViewers
from application.overview.call_overview import CallOverview
from application.overview.follower import Follower
from application.overview.service import ServiceReport, ServiceWatch
from application.ports.clock import Clock
from application.ports.exposition import MetricsExposition
from domain.errors import InvalidIdentifier
from domain.identifiers import StreamId, StreamKey, TenantId

MAX_ROWS = 200
EVERY_SECONDS = 1.0
LOOKS = 4
"""How often a second the stream of events checks whether the store answers."""

MAX_QUERY = 300
"""Characters of a query parameter; a stream's two names are 257."""

_OWN = {"same-origin", "none"}
"""The values of `Sec-Fetch-Site` for requests of this page or of its user."""

_FULL = b"event: full\ndata: {}\n\n"
_encode = msgspec.json.Encoder().encode

Text = Annotated[str, Parameter(max_length=MAX_QUERY)]


def live_routes(
    audience: Audience, clock: Clock, exposition: MetricsExposition
) -> list[HTTPRouteHandler]:
    """Build the page and its events. They name tenants and calls: for operators only."""
    page = files(__package__).joinpath("live.html").read_text(encoding="utf-8")
    headers = {**_HEADERS, "content-security-policy": policy_of(page)}
    watch_service = ServiceWatch()

    def service() -> ServiceReport:
        return watch_service.report(exposition.service_state(), clock.instant())

    @get("/live", sync_to_thread=False, media_type=MediaType.HTML, operation_id="LivePage")
    def live_page() -> Response[str]:
        """Show the calls of all processes."""
        return Response(page, headers=headers)

    @get("/live/events", operation_id="LiveEvents", media_type="text/event-stream")
    async def live_events(
        request: Request[Any, Any, Any], find: Text = "", watch: Text = ""
    ) -> Stream:
        """Tell what the calls do, every second, as server-sent events.

        `find` has words that a call must have; `watch` names a call, `TENANT/STREAM`, whose time
        line is told as well.
        """
        if request.headers.get("sec-fetch-site", "none") not in _OWN:
            raise PermissionDeniedException("not from another site")
        stream = _stream_of(watch) if watch else None
        return Stream(_events(audience, clock, service, find, stream), headers=_HEADERS)

    return [live_page, live_events]


_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def policy_of(page: str) -> str:
    """Return the Content-Security-Policy that allows the page its own script and style, no more."""
    sources = {
        f"{tag}-src": " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {sources['script-src']}; style-src {sources['style-src']}"
        "; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def _events(
    audience: Audience,
    clock: Clock,
    service: Callable[[], ServiceReport],
    find: str,
    watch: StreamKey | None,
) -> AsyncIterator[bytes]:
    viewer = object()
    try:
        audience.join(viewer)
    except TooManyViewers:
        yield _FULL
        return
    try:
        while (followed := audience.look(viewer)) is not None:
            yield _event(*followed, clock, service(), viewer, find, watch)
            await _until_next(followed[0], clock)
    finally:
        audience.leave(viewer)


async def _until_next(overview: CallOverview, clock: Clock) -> None:
    """Wait a second; less while nothing is known, and when the store is silent or back."""
    was_quiet = overview.quiet_seconds(clock.instant()) is not None
    for _ in range(LOOKS):
        await asyncio.sleep(EVERY_SECONDS / LOOKS)
        is_quiet = overview.quiet_seconds(clock.instant()) is not None
        if is_quiet is not was_quiet or not overview.has_index:
            return


def _event(
    overview: CallOverview,
    follower: Follower,
    clock: Clock,
    service: ServiceReport,
    viewer: object,
    find: str,
    watch: StreamKey | None,
) -> bytes:
    now = clock.instant()
    selected = overview.select(find, MAX_ROWS)
    follower.shown[viewer] = [call.stream for call in selected.shown]
    told = plain_overview(overview, selected.shown, selected.matching, service, now)
    if watch is not None:
        follower.watched[viewer] = watch
        call = overview.call(watch)
        told["watched"] = call and plain_line(overview, call, follower.line(watch), service, now)
    return b"data: " + _encode(told) + b"\n\n"


def _stream_of(name: str) -> StreamKey:
    tenant, _, stream = name.partition("/")
    try:
        return StreamKey(TenantId(tenant), StreamId(stream))
    except InvalidIdentifier as error:
        raise ClientException(f"watch={error}") from error
