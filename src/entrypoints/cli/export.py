"""`rtaa-ingest export`: published streams as WAV and JSON files."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from application.ports.errors import PublisherError
from application.ports.reader import StreamReader
from domain.entries import Started
from domain.errors import InvalidIdentifier
from domain.head import Head
from domain.identifiers import StreamId, StreamKey, TenantId
from entrypoints.cli.destination import read_destination_settings
from entrypoints.cli.run_export import RunExport
from entrypoints.cli.screen import Tally, console, table, watched
from entrypoints.cli.stereo import pairs, write_stereo
from entrypoints.settings import Settings

MAX_STEM = 200
"""Characters of a file name before the run; file systems take 255 bytes in all."""

Account = dict[str, Any]


@click.command()
@click.argument("tenant")
@click.argument("name", metavar="STREAM|INTERACTION")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the files; it is made if need be.",
)
def export(*, tenant: str, name: str, output: Path) -> None:
    """Write each run of a call as a WAV file, with a JSON file that holds its ledger.

    Of a STREAM, or of all streams of an INTERACTION; two tracks of one become a stereo file too.
    Needs PUBSUB_ADAPTER and what that one needs. Gaps become silence. A run that is still open is
    written as far as it is published.
    """
    try:
        key = StreamKey(TenantId(tenant), StreamId(name))
        settings = read_destination_settings()
        output.mkdir(parents=True, exist_ok=True)
        accounts, stereo = asyncio.run(_export(settings, key, output))
    except InvalidIdentifier as error:
        raise click.BadParameter(str(error)) from None
    except PublisherError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
    _report(output, accounts, stereo)


async def _export(
    settings: Settings, key: StreamKey, output: Path
) -> tuple[list[Account], list[Path]]:
    destination = settings.connect()
    try:
        keys = await _streams(destination.reader, key)
        if not keys:
            where = settings.adapter.name
            raise click.ClickException(
                f"no stream or interaction {key} in {where}: never published there, or expired"
            )
        written: list[RunExport] = []
        accounts: list[Account] = []
        for stream in keys:
            runs, its_accounts = await _export_stream(destination.reader, stream, output)
            written += runs
            accounts += its_accounts
        return accounts, [write_stereo(left, right) for left, right in pairs(written)]
    finally:
        await destination.close()


async def _streams(reader: StreamReader, key: StreamKey) -> list[StreamKey]:
    """Return the stream of that name, else those of the interaction of that name."""
    if await reader.head(key) is not None:
        return [key]
    found: dict[StreamKey, None] = {}
    cursor = None
    while page := await reader.announcements(cursor):
        for it in page:
            if it.stream.tenant_id == key.tenant_id and str(it.interaction_id) == key.stream_id:
                found[it.stream] = None
        cursor = page[-1].cursor
    return [it for it in found if await reader.head(it) is not None]


async def _export_stream(
    reader: StreamReader, key: StreamKey, output: Path
) -> tuple[list[RunExport], list[Account]]:
    head = await reader.head(key)
    if head is None:  # it has expired meanwhile
        return [], []
    total = head.next_position - head.first_kept
    with watched(str(key), "entries", total) as tally:
        runs = await _write_runs(reader, key, output, tally)
    head = await reader.head(key) or head
    return runs, _close_all(runs, head)


async def _write_runs(
    reader: StreamReader, key: StreamKey, output: Path, tally: Tally
) -> list[RunExport]:
    """Write the WAV file of each run as its entries come; one of them is open at a time."""
    runs: list[RunExport] = []
    try:
        async for published in reader.read(key):
            entry = published.entry
            begins = isinstance(entry, Started) and not entry.resumed
            if begins or not runs:
                _close_wav_files(runs)
                runs.append(RunExport(output, _stem(key), len(runs) + 1))
            runs[-1].add(published)
            tally.add()
    finally:
        _close_wav_files(runs)
    return runs


def _close_wav_files(runs: Sequence[RunExport]) -> None:
    for run in runs[-1:]:
        run.close_wav()


def _close_all(runs: Sequence[RunExport], head: Head) -> list[Account]:
    return [run.write_account(head, is_last=run is runs[-1]) for run in runs]


def _stem(key: StreamKey) -> str:
    """Begin the file names; names too long for a file are cut and told apart by a digest."""
    stem = f"{key.tenant_id}_{key.stream_id}"
    if len(stem) <= MAX_STEM:
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()[:16]
    return f"{stem[: MAX_STEM - len(digest) - 1]}~{digest}"


def _report(output: Path, accounts: Sequence[Account], stereo: Sequence[Path]) -> None:
    columns = ("run", "state", "reason", "complete", "frames", "gaps", "wav ms", "WAV")
    rows = [
        (
            account["run"],
            account["state"],
            account["reason"] or "-",
            "yes" if account["complete"] else "no: " + "; ".join(account["incomplete_because"]),
            account.get("frames", 0),
            account["gap_count"],
            account.get("wav_ms", 0),
            account["wav"] or "-",
        )
        for account in accounts
    ]
    console().print(table(f"Written to {output}", columns, rows))
    for path in stereo:
        console().print(f"stereo: {path.name}", markup=False)
