"""`rtaa-ingest check`: would the service work, and for whom."""

import asyncio
from collections.abc import Sequence

import click

from application.ports.destination import Destination
from application.ports.errors import PublisherError
from entrypoints.cli.screen import console, table
from entrypoints.registry import destination_adapters
from entrypoints.settings import InvalidSettings, Settings, read_settings
from entrypoints.sizing import ask_advice, expected_bytes

TRY_SECONDS = 30.0
"""How long the destination is tried: its name may have several addresses, each with its limits."""


@click.command()
def check() -> None:
    """Validate the configuration and try the broker; exit 1 if the service would not work."""
    try:
        settings = read_settings(destination_adapters())
    except InvalidSettings as error:
        raise click.ClickException(str(error)) from None
    out = console()
    out.print(table("Configuration", ("variable", "value"), sorted(settings.describe().items())))
    out.print(table("Accepted at /v1/ingest", ("who", "on what conditions"), who_enters(settings)))
    for warning in settings.warnings():
        out.print(f"WARNING: {warning}", style="yellow", markup=False)
    for line in settings.adapter.grants(settings.destination_options):
        out.print(
            f"What the service needs at the broker, and no more:\n  {line}",
            markup=False,
            soft_wrap=True,
        )
    failure, advice = asyncio.run(_try_destination(settings))
    for warning in advice:
        out.print(f"WARNING: {warning}", style="yellow", markup=False)
    if failure is not None:
        raise click.ClickException(f"the broker takes no writes: {failure}")
    out.print("OK: the configuration is usable and the broker takes writes.", style="green")


def who_enters(settings: Settings) -> list[tuple[str, str]]:
    """Say in plain words who may connect, a row for each kind of `Authorization`."""
    policy = settings.access_policy
    basic = "refused: no EXOTEL_USERNAME and EXOTEL_PASSWORD"
    none = "refused: a user name and password are configured"
    if not policy.carriers:
        basic = none = "refused: SUPPORT_EXOTEL is false"
    elif policy.pairs:
        basic = f"any of {len(policy.pairs)} password(s); {_limits(settings)}"
    else:
        none = _limits(settings)
    return [
        ("Authorization: Bearer", _token_rule(settings)),
        ("Authorization: Basic", basic),
        ("no Authorization", none),
        ("anything else", "refused"),
    ]


def _token_rule(settings: Settings) -> str:
    if settings["JWT_PUBLIC_KEY"] is None:
        return "refused: no JWT_PUBLIC_KEY"
    claims = ["exp and iat right", "tenant_id that of the call", "interaction_id too if present"]
    claims += [
        f"{claim} {settings[name]!r}"
        for claim, name in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER"))
        if settings[name] is not None
    ]
    bits = settings["JWT_PUBLIC_KEY"].key_size
    return f"RS256 by the configured {bits} bit key; {', '.join(claims)}; from any address"


def _limits(settings: Settings) -> str:
    policy = settings.access_policy
    addresses = "from any address"
    if policy.networks is not None:
        addresses = f"from {', '.join(str(network) for network in policy.networks)}"
        hops = settings["TRUSTED_PROXY_HOPS"]
        addresses += f" as told by {hops} proxies" if hops else " as the peer's own address"
    tenants = "any tenant"
    if policy.tenants is not None:
        tenants = f"tenants {', '.join(sorted(policy.tenants))}"
    return f"{addresses}; {tenants}"


async def _try_destination(settings: Settings) -> tuple[str | None, Sequence[str]]:
    """Return why the destination takes no writes, None if it does, and what it advises."""
    destination = settings.adapter.connect(settings.destination_options, settings.environment)
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
        settings["MAX_STREAMS"], settings["RETENTION_SECONDS"], settings["EXPIRE_SECONDS"]
    )
    try:
        return await ask_advice(destination, expected)
    except (PublisherError, TimeoutError) as error:
        return [f"the broker could not be asked for advice: {error or 'no answer'}"]
