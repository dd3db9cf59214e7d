"""`rtaa-ingest simulate`: play WAV files as concurrent calls, and check for losses."""

import asyncio
import base64
import math
import os
import secrets
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from application.ports.errors import PublisherError
from domain.account import State
from domain.errors import DomainError
from domain.identifiers import StreamId, StreamKey, TenantId
from entrypoints.carrier.account import CallAccount
from entrypoints.carrier.call import Plan, complaint_of_url, make_call
from entrypoints.carrier.recording import (
    Recording,
    UnusableRecording,
    packaged_speech,
    read_recording,
)
from entrypoints.carrier.wire import BINARY_WIRES, WIRES, Wire
from entrypoints.cli.descriptors import allow_descriptors
from entrypoints.cli.destination import read_destination_settings
from entrypoints.cli.screen import Tally, console, table, watched
from entrypoints.environment import FILE_SUFFIX
from entrypoints.setting_groups import ADAPTER, VARIABLES
from entrypoints.settings import Settings

PREFIX = "STREAM_PREFIX"

HANDSHAKES_AT_A_TIME = 64
"""The limit of concurrent handshakes: more would only wait in the service's accept queue."""

GRACE_SECONDS = 30.0
"""How much longer than its audio a call may take, unless told."""

EACH_SHOWN = 20
"""Up to this number each call has a row; as many complaints are shown."""


def _number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Refuse `nan`, which is inside every range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number of seconds")
    return value


@click.command()
@click.pass_context
@click.argument("wav", nargs=-1, type=click.Path(path_type=Path))
@click.option("--url", default="ws://127.0.0.1:8080/v1/ingest", show_default=True)
@click.option("--calls", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option("--dialect", type=click.Choice(sorted(WIRES)), default="exostreamkit")
@click.option("--binary", is_flag=True, help="Send frames as raw PCM instead of JSON.")
@click.option("--frame-ms", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option(
    "--repeat",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How often each call plays its file.",
)
@click.option(
    "--speed",
    type=click.Choice(["realtime", "flat-out"]),
    default="realtime",
    show_default=True,
)
@click.option(
    "--token",
    envvar="SIMULATE_TOKEN",
    show_envvar=True,
    help="A bearer token. The variable keeps it out of the list of processes.",
)
@click.option(
    "--basic",
    envvar="SIMULATE_BASIC",
    show_envvar=True,
    metavar="USER:PASSWORD",
    help="User name and password.",
)
@click.option("--tenant", default="demo", show_default=True)
@click.option(
    "--interaction-prefix", help="Calls are named PREFIX-1, PREFIX-2, …  [default: a fresh one]"
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0.1),
    callback=_number,
    help=f"Seconds that a call may take.  [default: its audio's length + {GRACE_SECONDS:g}]",
)
@click.option(
    "--redis-url",
    envvar="REDIS_URL",
    show_envvar=True,
    help="The Redis where to look up the ledgers of agentstream calls, which are told nothing. "
    "Without it PUBSUB_ADAPTER and its variables lead there.",
)
@click.option(
    "--stream-prefix",
    envvar=PREFIX,
    default=VARIABLES[PREFIX].default,
    show_default=True,
)
@click.option("--without-acks", is_flag=True, help="The service runs with ACK_INTERVAL=0.")
def simulate(
    context: click.Context,
    *,
    wav: tuple[Path, ...],
    url: str,
    calls: int,
    dialect: str,
    binary: bool,
    frame_ms: int,
    repeat: int,
    speed: str,
    token: str | None,
    basic: str | None,
    tenant: str,
    interaction_prefix: str | None,
    time_limit: float | None,
    redis_url: str | None,
    stream_prefix: str,
    without_acks: bool,
) -> None:
    """Play WAV files (PCM, 16 bits, mono) as calls; exit 1 if anything of them is lost.

    Several files are taken in turn. Without any, speech that comes with the package is played.
    A service that restarts is reached again, and the call resumed, where the dialect can.
    A carrier of the dialect agentstream hears nothing: with PUBSUB_ADAPTER and its variables, or
    with --redis-url, its calls are judged by their published ledgers, else only by how they were
    closed.
    """
    if (complaint := complaint_of_url(url)) is not None:
        raise click.BadParameter(f"needed: ws:// or wss://, {complaint}", param_hint="--url")
    wires = BINARY_WIRES if binary else WIRES
    if dialect not in wires:
        raise click.UsageError(f"{dialect} has frames of one form only: leave --binary out")
    recordings = _read_recordings(wav or _packaged(wires[dialect]))
    headers = _credential(token, basic)
    prefix = interaction_prefix or f"sim-{secrets.token_hex(4)}"
    wire = wires[dialect]
    plans = [
        Plan(
            url=url,
            tenant=tenant,
            interaction=f"{prefix}-{number + 1}",
            recording=(recording := recordings[number % len(recordings)]),
            wire=wire,
            headers=headers,
            limit_seconds=time_limit or recording.seconds * repeat + GRACE_SECONDS,
            frame_ms=frame_ms,
            repeat=repeat,
            paced=speed == "realtime",
            expects_acks=not without_acks,
        )
        for number in range(calls)
    ]
    told = {"REDIS_URL": redis_url, PREFIX: stream_prefix}
    settings = _where_published(
        {
            name: text
            for name, text in told.items()
            if text is not None
            and context.get_parameter_source(name.lower()) is ParameterSource.COMMANDLINE
        }
    )
    allow_descriptors()
    with watched(f"{calls} call(s)", "frames", sum(p.frame_count for p in plans)) as tally:
        accounts = asyncio.run(make_calls(plans, tally))
    try:
        if settings is not None and wire.speaks_only:
            _look_up_ledgers(settings, tenant, accounts)
    finally:
        _report(accounts)
    sys.exit(1 if any(account.complaints() for account in accounts) else 0)


async def make_calls(plans: Sequence[Plan], tally: Tally) -> list[CallAccount]:
    """Make the calls at once, and return their accounts in the same order."""
    handshakes = asyncio.Semaphore(HANDSHAKES_AT_A_TIME)
    calls = (make_call(plan, tally.add, handshakes) for plan in plans)
    return await asyncio.gather(*calls)


def _packaged(wire: type[Wire]) -> list[Path]:
    """Return the speech that comes with the package, at the rates a carrier uses unasked."""
    return [
        path
        for path in packaged_speech()
        if wire.usual_rate is None or read_recording(path).sample_rate == wire.usual_rate
    ]


def _read_recordings(paths: Sequence[Path]) -> list[Recording]:
    try:
        return [read_recording(path) for path in paths]
    except UnusableRecording as error:
        raise click.ClickException(str(error)) from None


def _credential(token: str | None, basic: str | None) -> dict[str, str]:
    """Return the headers that hold the credential. No message repeats any of it."""
    if token and basic:
        raise click.UsageError("--token or --basic, not both")
    if token:
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise click.UsageError("the token holds characters that no token has")
        return {"Authorization": f"Bearer {token}"}
    if basic:
        if ":" not in basic:
            raise click.UsageError("--basic takes USER:PASSWORD")
        pair = basic.encode(errors="surrogateescape")  # as bytes that are no UTF-8 came
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _where_published(told: Mapping[str, str]) -> Settings | None:
    """Return the settings of the destination with the ledgers; None without one.

    An address on the command line (`told`) precedes the environment's configuration, which precedes
    an address alone in the environment.
    """
    variables = {
        name: text
        for name, text in os.environ.items()
        if name.removesuffix(FILE_SUFFIX) not in told
    }
    variables |= told
    if "REDIS_URL" in told or not _has(variables, ADAPTER):
        if not _has(variables, "REDIS_URL"):
            return None
        variables.pop(ADAPTER + FILE_SUFFIX, None)
        variables[ADAPTER] = "redis_streams"
    settings = read_destination_settings(variables)
    return settings if settings.adapter.is_shared else None


def _has(variables: Mapping[str, str], name: str) -> bool:
    return any(variables.get(it, "").strip() for it in (name, name + FILE_SUFFIX))


def _look_up_ledgers(settings: Settings, tenant: str, accounts: Sequence[CallAccount]) -> None:
    try:
        asyncio.run(_read_ledgers(settings, tenant, accounts))
    except PublisherError as error:
        raise click.ClickException(f"the ledgers could not be read: {error}") from None
    except DomainError as error:
        raise click.ClickException(str(error)) from None


async def _read_ledgers(settings: Settings, tenant: str, accounts: Sequence[CallAccount]) -> None:
    destination = settings.connect()
    try:
        for account in accounts:
            key = StreamKey(TenantId(tenant), StreamId(account.stream))
            head = await destination.reader.head(key)
            if head is not None and head.account.state is State.ENDED:
                account.ledger = head.account.ledger.counters()
            elif account.failure is None:
                account.failure = "no 'ended' is published"
    finally:
        await destination.close()


def _report(accounts: Sequence[CallAccount]) -> None:
    out = console()
    failed = [account for account in accounts if account.complaints()]
    if len(accounts) <= EACH_SHOWN:
        columns = ("call", "sent", "acked", "published", "missing", "lost", "close", "verdict")
        out.print(table("Calls", columns, [_row(account) for account in accounts]))
    else:
        out.print(table("All calls", ("figure", "value"), _totals(accounts, failed)))
    for account in failed[:EACH_SHOWN]:
        complaint = f"{account.interaction}: {'; '.join(account.complaints())}"
        out.print(complaint, style="red", markup=False)
    if len(failed) > EACH_SHOWN:
        out.print(f"… and {len(failed) - EACH_SHOWN} more", style="red")


def _row(account: CallAccount) -> tuple[object, ...]:
    ledger = account.ledger or {}
    counters = [ledger.get(name, "-") for name in ("published", "missing", "lost")]
    verdict = f"ok, resumed {account.resumed} x" if account.resumed else "ok"
    if account.complaints():
        verdict = "LOSS" if account.connected else "not connected"
    acked = "-" if account.acked_through is None else account.acked_through
    close = account.close_code or "-"
    return (account.interaction, account.frames_sent, acked, *counters, close, verdict)


def _totals(
    accounts: Sequence[CallAccount], failed: Sequence[CallAccount]
) -> list[tuple[str, object]]:
    def total(counter: str) -> int:
        return sum((account.ledger or {}).get(counter, 0) for account in accounts)

    closes = Counter(str(account.close_code or "none") for account in accounts)
    listening = [account for account in accounts if account.expects_replies]
    unconnected = sum(not account.connected for account in failed)
    acked = sum(account.acked_through == account.last_seq for account in listening)
    return [
        ("calls", len(accounts)),
        ("calls without loss", len(accounts) - len(failed)),
        ("calls with loss", len(failed) - unconnected),
        ("calls not connected", unconnected),
        ("calls resumed", sum(account.resumed > 0 for account in accounts)),
        ("calls ended with a ledger", sum(account.ledger is not None for account in accounts)),
        ("calls acked through their last frame", acked if listening else "-"),
        ("frames sent", sum(account.frames_sent for account in accounts)),
        *((f"frames {name}", total(name)) for name in ("published", "missing", "lost")),
        ("close codes", ", ".join(f"{code} x {count}" for code, count in sorted(closes.items()))),
    ]
