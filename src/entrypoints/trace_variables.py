"""The variables of OpenTelemetry: which ask for traces, and which the SDK reads beside ours.

Those of `setting_groups.Traces` are checked, because the SDK would answer a wrong one with another
value, an exception, or a log line that repeats a secret. It reads them all itself.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from application.ports.destination import Problem
from entrypoints.value_kinds import show

EXPORTER = "OTEL_TRACES_EXPORTER"
DISABLED = "OTEL_SDK_DISABLED"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

NO_EXTRA = (
    "asks for traces, but rtaa-ingest is installed without the extra 'traces': there are none. "
    "Install it with the extra, or set OTEL_TRACES_EXPORTER=none"
)

_DISTRIBUTION = "opentelemetry-exporter-otlp-proto-http"

LIMITS = tuple(
    f"OTEL_{name}_LIMIT"
    for name in (
        "ATTRIBUTE_COUNT", "ATTRIBUTE_VALUE_LENGTH", "SPAN_ATTRIBUTE_COUNT",
        "SPAN_ATTRIBUTE_VALUE_LENGTH", "SPAN_EVENT_COUNT", "SPAN_LINK_COUNT",
        "EVENT_ATTRIBUTE_COUNT", "LINK_ATTRIBUTE_COUNT",
    )
)  # fmt: skip
"""Limits of spans. At a wrong one the SDK raises an exception; a blank one is no limit to it."""

_LIMIT = re.compile(r"[0-9]{1,18}")

OF_THE_SDK = frozenset(
    {
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        "OTEL_LOG_LEVEL",
        "OTEL_PROPAGATORS",
        *LIMITS,
        *(
            f"OTEL_EXPORTER_OTLP_{signal}{name}"
            for signal in ("", "TRACES_")
            for name in (
                "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY", "COMPRESSION", "INSECURE",
                "TIMEOUT",
            )
        ),
        # Of logs: as long as those of spans, and nearly the same names.
        *(
            f"OTEL_BLRP_{name}"
            for name in (
                "EXPORT_TIMEOUT", "MAX_EXPORT_BATCH_SIZE", "MAX_QUEUE_SIZE", "SCHEDULE_DELAY",
            )
        ),
    }
)  # fmt: skip
"""Standard names that are no misspelt ones of ours."""


def traces_asked_by(texts: Mapping[str, str]) -> str | None:
    """Return the variable that asks for traces; None if none does, or one forbids them."""
    if texts.get(DISABLED, "").lower() == "true" or texts.get(EXPORTER, "").lower() == "none":
        return None
    return next((name for name in (EXPORTER, *ENDPOINTS) if name in texts), None)


def problems_of_limits(texts: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the limits of spans that the SDK does not take."""
    for name in LIMITS:
        text = texts.get(name)
        if text is not None and _LIMIT.fullmatch(text) is None:
            yield Problem(name, show(text), "a whole number")


def is_installed() -> bool:
    """Whether the extra `traces` is there. Imports nothing."""
    try:
        version(_DISTRIBUTION)
    except PackageNotFoundError:
        return False
    return True
