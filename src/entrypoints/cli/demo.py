"""`rtaa-ingest demo`: a call over each wire, on a machine that has nothing but this."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from adapters.inbound.dialects import OWN
from application.ports.destination import NoEmbeddedServer
from entrypoints.carrier.account import CallAccount
from entrypoints.carrier.call import Plan
from entrypoints.carrier.recording import read_recording
from entrypoints.cli.proof import LOSSES, PlainReader, Proof, write_wav
from entrypoints.cli.proof_entry import Unreadable
from entrypoints.cli.scenes import TOKEN_TENANT, Scene, scenes_of
from entrypoints.cli.screen import console, table, watched
from entrypoints.cli.serve import EMBEDDED_ADAPTER
from entrypoints.cli.service_process import ServiceFailed, running_service
from entrypoints.cli.simulate import make_calls
from entrypoints.cli.token import mint, new_pair
from entrypoints.configuration import InvalidSettings, adapter_name
from entrypoints.registry import UnusableAdapter, destination_adapters
from entrypoints.setting_groups import ADAPTER

CALL_SECONDS = 30.0
"""How long a call may take; its speech takes 7."""

TOKEN_SECONDS = 600


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    show_default=True,
    help="Where the WAV files and the service's log go.",
)
def demo(*, output: Path) -> None:
    """Play real speech as real calls, read it back from the streams, and compare every byte.

    Each dialect that a simulated carrier writes has a call, in each form of its frames.
    Starts a throw-away broker and the service, and ends both: a Valkey, or the one of the adapter
    that PUBSUB_ADAPTER names. Exit 1 if a byte differs.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    log_path = output / "service.log"
    try:
        output.mkdir(parents=True, exist_ok=True)
        is_whole = _play(output, log_path)
    except (ServiceFailed, Unreadable) as error:
        raise click.ClickException(f"{error}\nThe service's log: {log_path}") from None
    except (InvalidSettings, UnusableAdapter, NoEmbeddedServer) as error:  # before it is started
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
    if not is_whole:
        raise click.ClickException(f"not everything came through. The service's log: {log_path}")
    console().print("Every byte came through.", style="bold green")


def _play(output: Path, log_path: Path) -> bool:
    step = _Steps()
    scenes = scenes_of(OWN)
    name = adapter_name(os.environ) or EMBEDDED_ADAPTER
    adapters = destination_adapters()
    if name not in adapters:
        raise click.ClickException(f"{ADAPTER}={name!r}: there is no such adapter")
    step.say(f"starting a throw-away broker for {name}")
    with adapters[name].embedded() as leading:
        reader = PlainReader(name, leading)
        where = ", ".join(leading.values())
        step.say(f"it listens at {where}; starting the service as a process of its own")
        private_key, public_pem = new_pair()
        settings = {
            ADAPTER: name,
            **leading,
            "SUPPORT_EXOTEL": "true",
            "JWT_PUBLIC_KEY": public_pem,
        }
        with running_service(settings, log_path) as address:
            step.say(f"it is ready at ws://{address}/v1/ingest; {len(scenes)} calls speak at once")
            now = int(time.time())
            claims = {"iat": now, "exp": now + TOKEN_SECONDS, "tenant_id": TOKEN_TENANT}
            bearer = {"Authorization": f"Bearer {mint(private_key, claims)}"}
            plans = [_plan(scene, address, bearer) for scene in scenes]
            with watched("real time", "frames", sum(p.frame_count for p in plans)) as tally:
                accounts = asyncio.run(make_calls(plans, tally))
        step.say(
            f"the calls are over, the service has ended; reading the streams back by {reader.how}"
        )
        proofs = [reader.prove(scene.tenant, scene.stream, scene.source) for scene in scenes]
    paths = [output / f"{scene.name}.wav" for scene in scenes]
    for path, proof in zip(paths, proofs, strict=True):
        write_wav(path, proof)
    step.say(f"wrote {', '.join(str(path) for path in paths)}")
    return _report(scenes, accounts, proofs)


def _plan(scene: Scene, address: str, bearer: dict[str, str]) -> Plan:
    return Plan(
        url=f"ws://{address}/v1/ingest",
        tenant=scene.tenant,
        interaction=scene.name,
        recording=read_recording(scene.source),
        wire=scene.wire,
        headers=bearer if scene.wire.sends_token else {},
        limit_seconds=CALL_SECONDS,
    )


def _report(
    scenes: Sequence[Scene], accounts: Sequence[CallAccount], proofs: Sequence[Proof]
) -> bool:
    counters = ("published", *LOSSES, "bytes", "audio_ms")
    rows = [
        ("source", *(scene.source.name for scene in scenes)),
        ("sample rate, Hz", *(proof.sample_rate for proof in proofs)),
        *((name, *(proof.ledger.get(name, "-") for proof in proofs)) for name in counters),
        ("audio read back", *("identical" if p.is_identical else "DIFFERS" for p in proofs)),
    ]
    out = console()
    columns = ("ledger, as published", *(scene.name for scene in scenes))
    out.print(table("What the consumers find", columns, rows))
    complaints = [
        f"{account.interaction}: {complaint}"
        for account in accounts
        for complaint in account.complaints()
    ]
    for complaint in complaints:
        out.print(complaint, style="red", markup=False)
    return not complaints and all(proof.is_whole for proof in proofs)


class _Steps:
    """Says what happens, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._out = console()

    def say(self, what: str) -> None:
        elapsed = time.monotonic() - self._began_at
        self._out.print(f"{elapsed:5.1f} s  {what}", markup=False, soft_wrap=True)


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal_number)
