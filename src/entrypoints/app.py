"""The applications of the ports and the life of what runs beside it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from adapters.inbound.asyncapi import asyncapi_document
from adapters.inbound.dialects import DIALECTS
from adapters.inbound.front import Front
from adapters.inbound.http_routes import health_routes, operations_routes
from adapters.inbound.websocket_route import ingest_route
from application.ports.exposition import MetricsExposition
from entrypoints.container import Container
from entrypoints.version import VERSION

FLUSH_SECONDS = 2.0
"""What is left to be published when the service stops gets so long."""

SHARE_SECONDS = 0.5
"""How old what a scrape shows of the other processes may be. It also tells that this one lives."""

_log = logging.getLogger(__name__)


def create_app(container: Container, on_failure: Callable[[], None]) -> Front:
    """Build the application of one process; with `OPERATIONS_PORT` one for each port.

    Nothing is connected before its lifespan begins.
    `on_failure` is called when a task without which the service does not work has failed, or when
    something is left unpublished at the end.
    """

    def watch_over(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("%s failed", task.get_name(), exc_info=error)
            on_failure()

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        watch, publication = container.broker_watch(), container.publication()
        tasks = [
            asyncio.create_task(watch.run(), name="broker watch"),
            asyncio.create_task(publication.run(), name="publication"),
            asyncio.create_task(container.recover_runs().run(), name="recovery"),
            asyncio.create_task(_share(container.telemetry()), name="sharing of counts"),
        ]
        for task in tasks:
            task.add_done_callback(watch_over)
        try:
            yield
        finally:
            await publication.flush(FLUSH_SECONDS)
            if left := publication.unpublished():
                _log.error("stopped with audio that is not published", extra={"streams": left})
                on_failure()
            await container.background().close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await container.destination().close()

    health = health_routes(
        container.roster(), container.broker_watch(), container.capacity(), container.clock()
    )
    operations = operations_routes(
        container.telemetry(),
        asyncapi_document(VERSION, container.settings()["STREAM_PREFIX"], DIALECTS),
    )
    ingest = ingest_route(container.gate(), container.calls(), container.roster())
    operations_port = container.settings()["OPERATIONS_PORT"]
    if operations_port is None:
        return Front(_litestar([ingest, *health, *operations], [lifespan]))
    public = _litestar([ingest, *health], [lifespan], is_described=False)
    return Front(public, _litestar([*health, *operations]), operations_port)


def _litestar(
    routes: Sequence[BaseRouteHandler],
    lifespan: Sequence[Callable[[Litestar], AbstractAsyncContextManager[None]]] = (),
    *,
    is_described: bool = True,
) -> Litestar:
    openapi = OpenAPIConfig(
        title="rtaa-ingest",
        version=VERSION,
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
    )
    return Litestar(
        route_handlers=list(routes),
        lifespan=list(lifespan),
        openapi_config=openapi if is_described else None,
        logging_config=None,
        debug=False,
    )


async def _share(exposition: MetricsExposition) -> None:
    while True:
        exposition.share()
        await asyncio.sleep(SHARE_SECONDS)
