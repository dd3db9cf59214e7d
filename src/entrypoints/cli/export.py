"""`rtaa-ingest export`: a published stream as WAV and JSON files."""

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
from entrypoints.cli.run_export import RunExport, TooLongForWav
from entrypoints.cli.screen import Tally, console, table, watched
from entrypoints.settings import Settings

MAX_STEM = 200
"""Characters of a file name before the run; file systems take 255 bytes in all."""

Account = dict[str, Any]


@click.command()
@click.argument("tenant")
@click.argument("stream")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the files; it is made if need be.",
)
def export(*, tenant: str, stream: str, output: Path) -> None:
    """Write each run of a stream as a WAV file, with a JSON file that holds its ledger.

    In the dialect exostreamkit, STREAM is the interaction_id. Needs PUBSUB_ADAPTER and what that
    one needs. Gaps become silence. A run that is still open is written as far as it is published.
    """
    try:
        key = StreamKey(TenantId(tenant), StreamId(stream))
        settings = read_destination_settings()
        output.mkdir(parents=True, exist_ok=True)
        accounts = asyncio.run(_export(settings, key, output))
    except InvalidIdentifier as error:
        raise click.BadParameter(str(error)) from None
    except (PublisherError, TooLongForWav) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
    _report(output, accounts)


async def _export(settings: Settings, key: StreamKey, output: Path) -> list[Account]:
    destination = settings.connect()
    try:
        head = await destination.reader.head(key)
        if head is None:
            where = settings.adapter.name
            raise click.ClickException(
                f"no stream {key} in {where}: never published there, or expired since"
            )
        total = head.next_position - head.first_kept
        with watched(str(key), "entries", total) as tally:
            runs = await _write_runs(destination.reader, key, output, tally)
        head = await destination.reader.head(key) or head
        return _close_all(runs, head)
    finally:
        await destination.close()


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


def _report(output: Path, accounts: Sequence[Account]) -> None:
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
