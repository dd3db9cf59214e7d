"""What every conversation shares: the use cases of a call, and its limits."""

from collections.abc import Iterable
from dataclasses import dataclass

from adapters.inbound.dialects import Dialect
from adapters.inbound.reports import Reports
from application.background import Background
from application.cut_interaction import CutInteraction
from application.delivery.byte_budget import ByteBudget
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.ports.clock import Clock
from application.ports.telemetry import Telemetry
from application.start_interaction import StartInteraction


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds from the handshake to `start`, between messages, and from `start` to the end.

    `confirm_seconds` is how long a sender that comes back is held on to when nothing can be
    confirmed, `drain_seconds` how long when the service stops.
    """

    start_seconds: float
    idle_seconds: float
    call_seconds: float
    confirm_seconds: float
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class Calls:
    """The use cases of a call, and what every conversation shares."""

    start: StartInteraction
    ingest: IngestAudio
    end: EndInteraction
    cut: CutInteraction
    background: Background
    budget: ByteBudget
    clock: Clock
    telemetry: Telemetry
    reports: Reports
    dialects: Iterable[Dialect]
    ack_interval: int
    limits: TimeLimits
