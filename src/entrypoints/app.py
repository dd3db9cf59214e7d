"""The applications of the ports, and the lifespan of the tasks beside them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute
from litestar.types import Scope

from adapters.inbound.handshake import INGEST_PATH
from adapters.inbound.http.asyncapi import asyncapi_document
from adapters.inbound.http.asyncapi_page import asyncapi_page_route
from adapters.inbound.http.front import Front
from adapters.inbound.http.live import live_routes
from adapters.inbound.http.path_guard import PathGuard
from adapters.inbound.http.routes import health_routes, operations_routes, why_not_ready
from adapters.inbound.reporting.refusals import Outcome, Refusal
from adapters.inbound.reporting.reports import Reports, values
from adapters.inbound.websocket.route import ingest_route
from application.ports.exposition import MetricsExposition
from entrypoints.container import Container
from entrypoints.dialects import installed_dialects
from entrypoints.version import VERSION

FLUSH_SECONDS = 2.0
"""The time limit for remaining audio when the service stops, and again for spans."""

NAMED_STREAMS = 20
"""So many of the streams that are left unpublished are named in the log."""

SHARE_SECONDS = 0.5
"""The maximum age of other processes' counts in a scrape. Sharing is also a sign of life."""

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

_log = logging.getLogger(__name__)


def create_app(container: Container, on_failure: Callable[[], None]) -> Front:
    """Build the application of one process; with `OPERATIONS_PORT` one for each port.

    Nothing is connected before its lifespan begins.
    `on_failure` is called when an essential task has failed, or when audio is left unpublished at
    the end.
    """
    reports = container.reports()

    def watch_over(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("%s failed", task.get_name(), exc_info=error)
            on_failure()

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        watch, sender = container.broker_watch(), container.sender()
        tasks = [
            asyncio.create_task(watch.run(), name="broker watch"),
            asyncio.create_task(sender.run(), name="sender"),
            asyncio.create_task(container.recover_runs().run(), name="recovery"),
            asyncio.create_task(container.audio_health().run(), name="audio health"),
            asyncio.create_task(_share(container.telemetry()), name="sharing of counts"),
        ]
        for task in tasks:
            task.add_done_callback(watch_over)
        try:
            yield
        finally:
            reports.close()
            await container.audience().close()
            await sender.flush(FLUSH_SECONDS)
            if left := sender.unpublished_streams():
                extra = {"streams": len(left), "first": [str(it) for it in left[:NAMED_STREAMS]]}
                _log.error("stopped with audio that is not published", extra=extra)
                on_failure()
            await container.background().close()
            if (tracer := container.tracer()) is not None:
                await tracer.close(FLUSH_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await container.destination().close()

    of_ready = container.roster(), container.broker_watch(), container.capacity()
    health = health_routes(*of_ready, container.clock())
    container.telemetry().watch_ready(lambda: why_not_ready(*of_ready) is None)
    dialects, settings = installed_dialects(), container.settings()
    publication = settings.adapter.publication(settings.destination_options)
    document = asyncapi_document(VERSION, INGEST_PATH, dialects, publication)
    operations = operations_routes(container.telemetry(), document)
    ingest = ingest_route(
        container.gate(),
        container.services(),
        container.reports(),
        dialects,
        container.roster(),
    )
    live = live_routes(container.audience(), container.clock(), container.telemetry())
    operations_port = settings.listening.operations_port
    if operations_port is None:
        return Front(_guarded([ingest, *health, *operations], reports, lifespan))
    return Front(
        _guarded([ingest, *health], reports, lifespan, is_described=False),
        _guarded([*health, *operations, asyncapi_page_route(document), *live], reports),
        operations_port,
    )


def _guarded(
    routes: Sequence[BaseRouteHandler],
    reports: Reports,
    lifespan: Lifespan | None = None,
    *,
    is_described: bool = True,
) -> PathGuard:
    """Build the application of one port: the public one, which takes calls, has the `lifespan`."""

    async def report_bug(error: Exception, scope: Scope) -> None:
        """Report a failed request, which Litestar answers with 500 without logging it."""
        if isinstance(error, HTTPException):
            return
        client = scope["client"]
        forwarded_for = values(list(scope["headers"]), b"x-forwarded-for")
        origin = reports.origin(client and client[0], forwarded_for)
        refusal = Refusal(Outcome.FAILED, "a bug")
        reports.refused(refusal, origin, is_handshake=False, error=error)

    openapi = OpenAPIConfig(
        title="rtaa-ingest",
        version=VERSION,
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
    )
    app = Litestar(
        route_handlers=list(routes),
        lifespan=[] if lifespan is None else [lifespan],
        after_exception=[report_bug],
        openapi_config=openapi if is_described else None,
        logging_config=None,
        debug=False,
    )
    methods = {
        route.path: frozenset(str(method) for method in route.methods)
        for route in app.routes
        if isinstance(route, HTTPRoute)
    }
    return PathGuard(app, reports, methods, None if lifespan is None else INGEST_PATH)


async def _share(exposition: MetricsExposition) -> None:
    while True:
        exposition.share()
        await asyncio.sleep(SHARE_SECONDS)
