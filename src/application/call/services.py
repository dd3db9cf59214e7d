"""The use cases and limits that all sessions share."""

from dataclasses import dataclass

from application.background import Background
from application.call.deadlines import TimeLimits
from application.cut_interaction import CutInteraction
from application.delivery.byte_budget import ByteBudget
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.ports.clock import Clock
from application.ports.telemetry import Telemetry
from application.ports.tracer import Tracer
from application.start_interaction import StartInteraction


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases of a call, and the limits of every session; no `tracer` if traces are off."""

    start: StartInteraction
    ingest: IngestAudio
    end: EndInteraction
    cut: CutInteraction
    background: Background
    budget: ByteBudget
    clock: Clock
    telemetry: Telemetry
    ack_interval: int
    limits: TimeLimits
    tracer: Tracer | None = None
