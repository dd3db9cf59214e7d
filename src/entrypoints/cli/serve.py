"""`rtaa-ingest serve`: run the service."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import click

from application.ports.destination import NoEmbeddedServer
from entrypoints.cli.descriptors import allow_descriptors, open_standard_streams
from entrypoints.configuration import InvalidSettings, adapter_name, read_settings
from entrypoints.dialects import UnusableDialect, installed_dialects
from entrypoints.environment import FILE_SUFFIX
from entrypoints.listening import Endpoint, bind, find_endpoints, problems_of
from entrypoints.logs import configure_logs, log_unraisable
from entrypoints.registry import UnusableAdapter, destination_adapters
from entrypoints.reload import hold_back
from entrypoints.setting_groups import ADAPTER
from entrypoints.settings import Settings
from entrypoints.start_line import log_start
from entrypoints.stop_signals import INTERRUPTED, EarlyStop
from entrypoints.workers import Workers

FAILED = 70
"""EX_SOFTWARE of sysexits.h: a platform that restarts on failure does so."""

MAX_WORKERS = 64

EMBEDDED_ADAPTER = "redis_streams"
"""The adapter whose server is embedded unless `PUBSUB_ADAPTER` names another."""

_log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--embedded",
    is_flag=True,
    help="Start a throw-away broker beside the service, a Valkey unless PUBSUB_ADAPTER names "
    "another; everything is gone when it ends.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    default=1,
    show_default=True,
    help="Processes that serve the port together; MAX_STREAMS is their total.",
)
def serve(*, embedded: bool, workers: int) -> None:
    """Run the service, configured by the environment, until SIGTERM or Ctrl-C."""
    try:
        stop = EarlyStop()
        stop.listen()
        hold_back()
        open_standard_streams()
        log_unraisable()
        allow_descriptors()
        with ExitStack() as stack:
            environment: Mapping[str, str] = os.environ
            if embedded:
                environment = _embed(stack)
            _run(environment, workers, stop)
    except (InvalidSettings, UnusableAdapter, UnusableDialect, NoEmbeddedServer) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run(environment: Mapping[str, str], workers: int, stop: EarlyStop) -> None:
    settings = read_settings(destination_adapters(), environment, problems_of)
    installed_dialects()  # one that cannot be used ends this process, and not each worker
    endpoints = find_endpoints(settings.listening.host, settings.ports)
    if workers > 1:
        if not settings.adapter.is_shared:
            raise click.ClickException(
                f"--workers {workers} with PUBSUB_ADAPTER={settings.adapter.name}: each process "
                "would have streams of its own"
            )
        stop.check()
        _run_workers(settings, environment, workers, endpoints)
        return
    sockets = bind(endpoints)
    from entrypoints.server import build_server  # noqa: PLC0415  # a second; wrong settings first

    server = build_server(settings)
    for warning in settings.warnings():
        _log.warning(warning)
    stop.check()
    with failure_logged():
        server.run(sockets)
    if server.stop_signals.is_interrupt:
        raise KeyboardInterrupt
    if server.has_failed or server.force_exit:
        sys.exit(FAILED)


def _run_workers(
    settings: Settings, environment: Mapping[str, str], workers: int, endpoints: Sequence[Endpoint]
) -> None:
    configure_logs(settings.logging.log_level, settings.logging.log_format)
    for warning in settings.warnings():
        _log.warning(warning)
    drain_seconds = settings.calls.drain_seconds
    try:
        parent = Workers(workers, environment, endpoints, drain_seconds=drain_seconds)
    except OSError as error:
        raise click.ClickException(f"--workers {workers} cannot start: {error}") from None
    log_start(settings, parent.sockets, workers)
    with failure_logged():
        has_succeeded = parent.run()
    if parent.is_interrupted:
        raise KeyboardInterrupt
    if not has_succeeded:
        sys.exit(FAILED)


@contextmanager
def failure_logged() -> Iterator[None]:
    """Log an uncaught exception, except for wrong settings, as one line; exit with `FAILED`."""
    try:
        yield
    except InvalidSettings:
        raise
    except Exception as error:
        _log.exception("the service has failed")
        raise SystemExit(FAILED) from error


def _embed(stack: ExitStack) -> Mapping[str, str]:
    """Start a broker that ends with `stack`; return the environment that names it."""
    name = adapter_name(os.environ) or EMBEDDED_ADAPTER
    adapters = destination_adapters()
    environment = {**os.environ, ADAPTER: name}
    environment.pop(ADAPTER + FILE_SUFFIX, None)
    if name not in adapters:
        read_settings(adapters, environment, problems_of)  # which tells what there is
    adapter = adapters[name]
    for variable in (it + suffix for it in adapter.variables for suffix in ("", FILE_SUFFIX)):
        is_file = variable.endswith(FILE_SUFFIX) and variable in os.environ
        if is_file or os.environ.get(variable, "").strip():
            raise click.ClickException(f"--embedded starts a broker of its own: unset {variable}")
    leading = stack.enter_context(adapter.embedded())
    environment |= leading
    read_settings(adapters, environment, problems_of)
    click.secho(
        "WARNING: --embedded runs a THROW-AWAY broker: everything published is gone when this "
        "process ends.\n         Consumers find it at "
        f"{', '.join(f'{key}={value}' for key, value in leading.items())}",
        err=True,
        bold=True,
    )
    return environment
