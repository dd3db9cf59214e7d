"""The command line `rtaa-ingest`: one command a file, found by its name.

A command's module is imported when the command is used: the server's libraries take a second to
load, which a mere `token` or `simulate` does not need.
"""

import gc
import signal
from importlib import import_module
from typing import Any

import click

from entrypoints.cli.standard_output import tell_of_unwritable_output

COMMANDS = ("serve", "check", "demo", "simulate", "top", "tail", "export", "token")
"""In the order in which a newcomer needs them; each is a function of that name in its module."""

OBJECTS_OF_IMPORTS = 50_000
"""The threshold of the cycle collector: imported objects stay, and scanning them took a tenth of
the start."""


class _CommandByName(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # click's
        tell_of_unwritable_output()
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        gc.set_threshold(OBJECTS_OF_IMPORTS, *gc.get_threshold()[1:])
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `entrypoints.program`
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command


@click.group(cls=_CommandByName, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rtaa-ingest", prog_name="rtaa-ingest")
def main() -> None:
    """Take live phone audio in over WebSockets and publish it, in order and confirmed."""
