"""The composition root: which object is made of which others. Declarations only."""

import platform

from dependency_injector import containers, providers

from adapters.inbound.access.brake import Brake
from adapters.inbound.access.gate import Gate
from adapters.inbound.dialects import DIALECTS
from adapters.inbound.reporting.refusals import Outcome
from adapters.inbound.reporting.reports import Reports
from adapters.outbound.prometheus import Build, PrometheusTelemetry, Series
from adapters.outbound.system_clock import SystemClock
from adapters.outbound.worker_board import Slot
from application.admit_sender import AdmitSender
from application.background import Background
from application.broker_watch import BrokerWatch
from application.call.closing import CLOSES, REFUSED_WITH, Leaving
from application.call.deadlines import TimeLimits
from application.call.messages import Oddity, Refusal
from application.call.roster import Roster
from application.call.services import Services
from application.capacity import Capacity
from application.cut_interaction import CutInteraction
from application.delivery.sender import Sender
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.ports.destination import Destination
from application.ports.places import Places
from application.ports.telemetry import FRAMES, IGNORED
from application.recover_runs import RecoverRuns
from application.start_interaction import StartInteraction
from entrypoints.settings import Settings
from entrypoints.version import VERSION


def _connect(settings: Settings) -> Destination:
    return settings.adapter.connect(settings.destination_options, settings.environment)


def _places(settings: Settings, slot: Slot | None) -> Places:
    return Capacity(settings["MAX_STREAMS"]) if slot is None else slot


_KNOWN = Series(
    dialects=[dialect.name for dialect in DIALECTS],
    handshakes=[outcome.value for outcome in Outcome],
    closes=[(code.value, reason.value) for reason, codes in CLOSES.items() for code in codes],
    frames=[*FRAMES, *(("rejected", reason.value) for reason in (*Refusal, *REFUSED_WITH))],
    odd_starts=[oddity.value for oddity in Oddity],
    left=[when.value for when in Leaving],
    ignored=IGNORED,
)
_BUILD = Build(VERSION, platform.python_version())


class Container(containers.DeclarativeContainer):
    """One process of the service; `settings` is given, and its `slot` if it is one of several."""

    slot: providers.Provider[Slot | None] = providers.Object(None)
    settings = providers.Dependency(instance_of=Settings)
    setting = settings.provided

    clock = providers.Singleton(SystemClock)
    telemetry = providers.Singleton(PrometheusTelemetry, slot, _KNOWN, _BUILD)
    destination = providers.Singleton(_connect, settings)

    capacity = providers.Singleton(_places, settings, slot)
    background = providers.Singleton(Background)
    sender = providers.Singleton(
        Sender,
        destination.provided.store,
        clock,
        telemetry,
        setting.buffer_limits,
        retention_seconds=setting["RETENTION_SECONDS"],
    )
    broker_watch = providers.Singleton(BrokerWatch, destination, sender, clock, telemetry)

    admit_sender = providers.Singleton(AdmitSender, setting.access_policy, setting.token_verifier)
    ingest_audio = providers.Singleton(IngestAudio, clock, telemetry)
    end_interaction = providers.Singleton(
        EndInteraction,
        clock,
        telemetry,
        background,
        expire_seconds=setting["EXPIRE_SECONDS"],
    )
    cut_interaction = providers.Singleton(
        CutInteraction,
        end_interaction,
        background,
        clock,
        resume_seconds=setting["RESUME_SECONDS"],
        expire_seconds=setting["EXPIRE_SECONDS"],
    )
    start_interaction = providers.Singleton(
        StartInteraction, destination.provided.open_runs, sender, cut_interaction, clock
    )
    recover_runs = providers.Singleton(
        RecoverRuns,
        destination.provided.store,
        destination.provided.open_runs,
        sender,
        resume_seconds=setting["RESUME_SECONDS"],
    )

    reports = providers.Singleton(
        Reports, telemetry, trusted_proxy_hops=setting["TRUSTED_PROXY_HOPS"]
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
        ack_interval=setting["ACK_INTERVAL"],
        limits=providers.Singleton(
            TimeLimits,
            start_seconds=setting["START_TIMEOUT_SECONDS"],
            idle_seconds=setting["IDLE_TIMEOUT_SECONDS"],
            call_seconds=setting["MAX_CALL_SECONDS"],
            confirm_seconds=setting.buffer_limits.stalled_seconds,
            drain_seconds=setting["DRAIN_SECONDS"],
        ),
    )
