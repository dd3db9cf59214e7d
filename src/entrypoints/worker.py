"""One worker of `serve --workers N`, started by the parent.

    python -m entrypoints.worker SOCKETS BOARD ALIVE STOP NUMBER

SOCKETS (comma-separated), BOARD, ALIVE and STOP are descriptors: the listening sockets, the shared
memory, a pipe that closes when the parent is gone, however that dies, and a pipe that informs the
parent of a stop signal. NUMBER is the slot. The stop signals and SIGHUP are blocked until the
server handles them.
"""

import asyncio
import os
import socket
import sys
from contextlib import ExitStack, suppress
from functools import partial

from adapters.outbound.worker_board import Slot, WorkerBoard
from entrypoints.cli.descriptors import allow_descriptors
from entrypoints.cli.serve import FAILED, failure_logged
from entrypoints.configuration import InvalidSettings, read_settings
from entrypoints.dialects import UnusableDialect
from entrypoints.event_loop import run
from entrypoints.listening import ListeningSocket
from entrypoints.logs import log_unraisable
from entrypoints.registry import destination_adapters
from entrypoints.server import IngestServer, build_server


def main(arguments: list[str]) -> int:
    """Serve until told to stop, or until the parent is gone; return the exit status."""
    listening, *numbers = arguments
    board, alive, stop, number = map(int, numbers)
    log_unraisable()
    allow_descriptors()
    try:
        settings = read_settings(destination_adapters(), os.environ)
        slot = Slot(WorkerBoard(board), number, settings.calls.max_streams)
        server = build_server(settings, slot)
        server.stop_signals.on_first = partial(_tell_to_stop, stop)
        with failure_logged(), ExitStack() as stack:
            sockets: list[socket.socket] = [
                stack.enter_context(ListeningSocket(fileno=int(descriptor)))
                for descriptor in listening.split(",")
            ]
            run(_serve(server, sockets, alive), settings.coalesce_seconds)
    except (InvalidSettings, UnusableDialect) as error:  # the parent could use them
        sys.stderr.write(f"Error: {error}\n")
        return FAILED
    return FAILED if server.has_failed or server.force_exit else 0


def _tell_to_stop(stop: int) -> None:
    """Inform the parent that all workers must stop; it may know already."""
    with suppress(OSError):  # it is gone: so are we, soon
        os.write(stop, b"!")


async def _serve(server: IngestServer, sockets: list[socket.socket], alive: int) -> None:
    loop = asyncio.get_running_loop()

    def on_parent_gone() -> None:
        loop.remove_reader(alive)
        server.should_exit = True
        if server.started:
            for listener in server.servers:  # it is about to exit
                listener.close()

    loop.add_reader(alive, on_parent_gone)
    await server.serve(sockets=sockets)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
