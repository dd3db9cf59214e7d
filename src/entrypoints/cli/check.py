"""`rtaa-ingest check`: validates the configuration, and says who may connect."""

import asyncio
from collections.abc import Sequence

import click

from application.ports.destination import Destination
from application.ports.errors import PublisherError
from entrypoints.access_summary import who_enters
from entrypoints.cli.screen import console, table
from entrypoints.configuration import InvalidSettings, read_settings
from entrypoints.dialects import UnusableDialect, installed_dialects
from entrypoints.listening import problems_of
from entrypoints.registry import destination_adapters
from entrypoints.settings import Settings
from entrypoints.sizing import ask_advice, expected_bytes

TRY_SECONDS = 30.0
"""How long the destination is tried: its name may have several addresses, each with its limits."""


@click.command()
@click.option("--config-only", is_flag=True, help="Leave the broker alone.")
def check(*, config_only: bool) -> None:
    """Validate the configuration, try HOST, PORT and the broker; exit 1 if the service would fail.

    A service that runs with the same HOST and PORT has them already: try another PORT beside it.
    """
    try:
        settings = read_settings(destination_adapters(), examine=problems_of)
        dialects = installed_dialects()
    except (InvalidSettings, UnusableDialect) as error:
        raise click.ClickException(str(error)) from None
    out = console()
    out.print(table("Configuration", ("variable", "value"), sorted(settings.describe().items())))
    out.print(table("Accepted at /v1/ingest", ("who", "on what conditions"), who_enters(settings)))
    out.print(f"Dialects: {', '.join(it.name for it in dialects)}", markup=False, soft_wrap=True)
    for warning in settings.warnings():
        out.print(f"WARNING: {warning}", style="yellow", markup=False)
    for line in settings.adapter.grants(settings.destination_options):
        out.print(
            f"What the service needs at the broker, and no more:\n  {line}",
            markup=False,
            soft_wrap=True,
        )
    if config_only:
        out.print("OK: the configuration is usable; the broker was not tried.", style="green")
        return
    failure, advice = asyncio.run(_try_destination(settings))
    for warning in advice:
        out.print(f"WARNING: {warning}", style="yellow", markup=False)
    if failure is not None:
        raise click.ClickException(f"the broker takes no writes: {failure}")
    out.print("OK: the configuration is usable and the broker takes writes.", style="green")


async def _try_destination(settings: Settings) -> tuple[str | None, Sequence[str]]:
    """Return why the destination takes no writes, None if it does, and its advice."""
    destination = settings.connect()
    try:
        async with asyncio.timeout(TRY_SECONDS):
            await destination.verify_writable()
        return None, await _ask_advice(destination, settings)
    except TimeoutError:
        return f"no answer within {TRY_SECONDS:g} s", ()
    except PublisherError as error:
        return str(error), ()
    finally:
        await destination.close()


async def _ask_advice(destination: Destination, settings: Settings) -> Sequence[str]:
    expected = expected_bytes(
        settings.calls.max_streams,
        settings.streams.retention_seconds,
        settings.streams.expire_seconds,
    )
    try:
        return await ask_advice(destination, expected)
    except (PublisherError, TimeoutError) as error:
        return [f"the broker could not be asked for advice: {error or 'no answer'}"]
