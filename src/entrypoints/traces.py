"""Makes the tracer if traces are on, and only then imports OpenTelemetry."""

import os

from adapters.inbound.handshake import INGEST_PATH
from application.ports.tracer import Tracer
from entrypoints.setting_groups import Traces
from entrypoints.settings import Settings
from entrypoints.trace_variables import LIMITS
from entrypoints.variables import declared
from entrypoints.version import VERSION


def connect_tracer(settings: Settings) -> Tracer | None:
    """Return the tracer of this process, whose thread begins to run; None if traces are off.

    The SDK reads the environment of the process, so values from files are put there.
    """
    if settings.traces is None:
        return None
    names = [name for name, _, _ in declared(Traces) if name in settings.texts]
    os.environ.update({name: settings.texts[name] for name in names})
    for name in LIMITS:
        if name not in settings.texts:  # it may be blank
            os.environ.pop(name, None)
    from adapters.outbound.opentelemetry.tracer import OpenTelemetryTracer  # noqa: PLC0415

    return OpenTelemetryTracer(
        VERSION,
        INGEST_PATH,
        max_spans=settings.traces.otel_bsp_max_queue_size,
        max_batch=settings.traces.otel_bsp_max_export_batch_size,
    )
