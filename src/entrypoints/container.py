"""The composition root: the dependencies of all objects. Declarations only."""

import platform
from collections.abc import Callable
from typing import TypeVar

from dependency_injector import containers, providers

from adapters.inbound.access.brake import Brake
from adapters.inbound.access.gate import Gate
from adapters.inbound.dialects import DIALECTS
from adapters.inbound.reporting.refusals import Outcome
from adapters.inbound.reporting.reports import Reports
from adapters.outbound.prometheus.families import Build, Series
from adapters.outbound.prometheus.telemetry import PrometheusTelemetry
from adapters.outbound.system_clock import SystemClock
from adapters.outbound.worker_board import Slot
from application.access.admit_sender import AdmitSender
from application.access.capacity import Capacity
from application.audio_health import AudioHealth
from application.background import Background
from application.call.closing import CLOSES, REFUSED_WITH, Leaving
from application.call.deadlines import TimeLimits
from application.call.messages import Oddity, Refusal
from application.call.roster import Roster
from application.call.services import Services
from application.cut_interaction import CutInteraction
from application.delivery.sender import Sender
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.overview.audience import Audience
from application.ports.places import Places
from application.ports.telemetry import FRAMES, IGNORED, RUN_ENDS, SAMPLES
from application.recover_runs import RecoverRuns
from application.start_interaction import StartInteraction
from application.watch.broker_watch import BrokerWatch
from domain.audio_health import Finding
from entrypoints.settings import Settings
from entrypoints.traces import connect_tracer
from entrypoints.version import VERSION

T = TypeVar("T")


def _of(
    settings: providers.Provider[Settings], read: Callable[[Settings], T]
) -> providers.Provider[T]:
    """Provide what `read` finds in the settings: the type checker sees its name and type."""
    return providers.Callable(read, settings)


def _places(settings: Settings, slot: Slot | None) -> Places:
    return Capacity(settings.calls.max_streams) if slot is None else slot


LOOKS_PER_SECOND = 600
"""How many calls a second the live page looks at; each takes some 60 to 150 µs of CPU."""

_KNOWN = Series(
    dialects=[dialect.name for dialect in DIALECTS],
    handshakes=[outcome.value for outcome in Outcome],
    closes=[(code.value, reason.value) for reason, codes in CLOSES.items() for code in codes],
    frames=[*FRAMES, *(("rejected", reason.value) for reason in (*Refusal, *REFUSED_WITH))],
    run_ends=RUN_ENDS,
    odd_starts=[oddity.value for oddity in Oddity],
    left=[when.value for when in Leaving],
    ignored=IGNORED,
    findings=[finding.value for finding in Finding],
    samples=SAMPLES,
)
_BUILD = Build(VERSION, platform.python_version())


class Container(containers.DeclarativeContainer):
    """One process of the service; `settings` is given, and its `slot` if it is one of several."""

    slot: providers.Provider[Slot | None] = providers.Object(None)
    settings = providers.Dependency(instance_of=Settings)

    clock = providers.Singleton(SystemClock)
    capacity = providers.Singleton(_places, settings, slot)
    telemetry = providers.Singleton(
        PrometheusTelemetry,
        slot,
        _KNOWN,
        _BUILD,
        capacity,
        _of(settings, lambda it: it.buffer_limits.buffer_bytes),
    )
    destination = providers.Singleton(Settings.connect, settings)

    tracer = providers.Singleton(connect_tracer, settings)

    background = providers.Singleton(Background)
    sender = providers.Singleton(
        Sender,
        destination.provided.store,
        clock,
        telemetry,
        _of(settings, lambda it: it.buffer_limits),
        retention_seconds=_of(settings, lambda it: it.streams.retention_seconds),
    )
    broker_watch = providers.Singleton(BrokerWatch, destination, sender, clock, telemetry)

    admit_sender = providers.Singleton(
        AdmitSender,
        _of(settings, lambda it: it.access_policy),
        _of(settings, lambda it: it.token_verifier),
    )
    audio_health = providers.Singleton(
        AudioHealth,
        telemetry,
        frames_per_sample=_of(settings, lambda it: it.calls.audio_health_sample),
    )
    ingest_audio = providers.Singleton(IngestAudio, clock, telemetry, audio_health)
    end_interaction = providers.Singleton(
        EndInteraction,
        clock,
        telemetry,
        background,
        expire_seconds=_of(settings, lambda it: it.streams.expire_seconds),
        audio_health=audio_health,
    )
    cut_interaction = providers.Singleton(
        CutInteraction,
        end_interaction,
        background,
        clock,
        resume_seconds=_of(settings, lambda it: it.calls.resume_seconds),
        expire_seconds=_of(settings, lambda it: it.streams.expire_seconds),
    )
    start_interaction = providers.Singleton(
        StartInteraction, destination.provided.open_runs, sender, cut_interaction, clock
    )
    recover_runs = providers.Singleton(
        RecoverRuns,
        destination.provided.store,
        destination.provided.open_runs,
        sender,
        telemetry,
        resume_seconds=_of(settings, lambda it: it.calls.resume_seconds),
    )

    audience = providers.Singleton(
        Audience, settings.provided.connect, clock, looks_per_second=LOOKS_PER_SECOND
    )

    reports = providers.Singleton(
        Reports,
        telemetry,
        trusted_proxy_hops=_of(settings, lambda it: it.access.trusted_proxy_hops),
    )
    brake = providers.Singleton(Brake, clock)
    roster = providers.Singleton(Roster, telemetry)
    gate = providers.Singleton(
        Gate,
        admit_sender,
        capacity,
        broker_watch,
        roster,
        brake,
        reports,
    )
    services = providers.Singleton(
        Services,
        start=start_interaction,
        ingest=ingest_audio,
        end=end_interaction,
        cut=cut_interaction,
        background=background,
        budget=sender.provided.budget,
        clock=clock,
        telemetry=telemetry,
        tracer=tracer,
        ack_interval=_of(settings, lambda it: it.calls.ack_interval),
        limits=providers.Singleton(
            TimeLimits,
            start_seconds=_of(settings, lambda it: it.calls.start_timeout_seconds),
            idle_seconds=_of(settings, lambda it: it.calls.idle_timeout_seconds),
            call_seconds=_of(settings, lambda it: it.calls.max_call_seconds),
            confirm_seconds=_of(settings, lambda it: it.buffer_limits.stalled_seconds),
            drain_seconds=_of(settings, lambda it: it.calls.drain_seconds),
        ),
    )
