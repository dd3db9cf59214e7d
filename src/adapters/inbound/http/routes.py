"""HTTP for operators and platforms: health, readiness, metrics."""

from datetime import UTC, datetime
from typing import Any, Literal

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, Struct, UnsetType

from application.call.roster import Roster
from application.ports.clock import Clock
from application.ports.exposition import MetricsExposition
from application.ports.places import Places
from application.watch.broker_watch import BrokerWatch


class Health(Struct):
    """Whether the service is up, and whether its broker takes writes.

    `pubsub` tells whether calls can start; `away` has the parts of the broker that take no writes,
    where it has parts: calls that are in one of them wait.
    """

    status: Literal["healthy", "degraded"]
    service: Literal["ingest"]
    pubsub: bool
    timestamp: str
    away: list[str] | UnsetType = UNSET


class Liveness(Struct):
    """The process works."""

    status: Literal["alive"] = "alive"


class Readiness(Struct):
    """Whether new calls are taken, and if not, why; `away` as in `Health`."""

    ready: bool
    reason: str | None = None
    away: list[str] | UnsetType = UNSET


def why_not_ready(roster: Roster, broker_watch: BrokerWatch, capacity: Places) -> str | None:
    """Return why no new calls are taken; None if they are."""
    if roster.is_draining:
        return "draining"
    if not broker_watch.is_up:
        return "the broker takes no writes"
    return "all places are taken" if capacity.is_full else None


def health_routes(
    roster: Roster, broker_watch: BrokerWatch, capacity: Places, clock: Clock
) -> list[HTTPRouteHandler]:
    """Build the routes that platforms and balancers ask, on every port."""

    def away() -> list[str] | UnsetType:
        return broker_watch.away if broker_watch.has_parts else UNSET

    @get("/health", sync_to_thread=False, operation_id="Health")
    def health() -> Health:
        """Tell health; 200 without a broker too: a restart would throw the buffered audio away."""
        now = datetime.fromtimestamp(clock.epoch_ms() / 1000, UTC)
        return Health(
            status="degraded" if broker_watch.away else "healthy",
            service="ingest",
            pubsub=broker_watch.is_up,
            timestamp=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            away=away(),
        )

    @get("/health/live", sync_to_thread=False, operation_id="Liveness")
    def live() -> Liveness:
        """Answer while the process works."""
        return Liveness()

    @get(
        "/health/ready",
        sync_to_thread=False,
        operation_id="Readiness",
        responses={503: ResponseSpec(Readiness, description="No new calls, and why")},
    )
    def ready() -> Response[Readiness]:
        """Answer 200 if new calls are taken, 503 with the reason if not."""
        reason = why_not_ready(roster, broker_watch, capacity)
        status = 200 if reason is None else 503
        return Response(Readiness(reason is None, reason, away()), status_code=status)

    return [health, live, ready]


def operations_routes(
    exposition: MetricsExposition, asyncapi: dict[str, Any]
) -> list[HTTPRouteHandler]:
    """Build the routes that operators ask; `asyncapi` is the document of messages and entries."""

    @get("/metrics", sync_to_thread=False, media_type=MediaType.TEXT, operation_id="Metrics")
    def metrics() -> Response[bytes]:
        """Render the metrics in the Prometheus text format."""
        content_type = {"content-type": exposition.media_type}  # Litestar would add a charset
        return Response(exposition.render(), headers=content_type)

    @get("/asyncapi.json", sync_to_thread=False, operation_id="AsyncApi")
    def asyncapi_json() -> dict[str, Any]:
        """Describe the WebSocket and the published entries as AsyncAPI."""
        return asyncapi

    return [metrics, asyncapi_json]
