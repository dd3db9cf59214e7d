"""`rtaa-ingest tail`: the live calls, and what happens in them."""

import asyncio

import click

from adapters.outbound.system_clock import SystemClock
from application.ports.errors import PublisherError
from entrypoints.cli.destination import read_destination_settings
from entrypoints.cli.tail_calls import Filters, Tail
from entrypoints.cli.tail_lines import TailLines


@click.command()
@click.option("--once", is_flag=True, help="List the live calls and leave.")
@click.option("--json", "is_json", is_flag=True, help="Write a JSON object a line.")
@click.option("--tenant", help="Only calls of this tenant.")
@click.option("--interaction", help="Only streams of this interaction.")
@click.option("--dialect", help="Only calls in this dialect.")
def tail(
    *,
    once: bool,
    is_json: bool,
    tenant: str | None,
    interaction: str | None,
    dialect: str | None,
) -> None:
    """List the live calls, then follow them: starts, audio, standstills, gaps, signals, ends.

    Needs PUBSUB_ADAPTER and what that one needs. One line each, flushed, until Ctrl-C. A broker
    that is away is waited for.
    """
    settings = read_destination_settings()
    destination = settings.connect()
    clock = SystemClock()
    filters = Filters(tenant, interaction, dialect)
    lines = TailLines(clock.epoch_ms, is_json=is_json)

    async def follow() -> None:
        try:
            await Tail(destination.reader, clock, lines, filters).run(once=once)
        finally:
            await destination.close()

    try:
        asyncio.run(follow())
    except PublisherError as error:
        raise click.ClickException(str(error)) from None
