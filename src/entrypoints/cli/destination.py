"""The settings of commands that use only the destination."""

import os
from collections.abc import Mapping

import click

from entrypoints.configuration import InvalidSettings, read_settings
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import VARIABLES
from entrypoints.settings import Settings

_OF_DESTINATIONS = frozenset({"STREAM_PREFIX"})


def read_destination_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of the destination, without those of access.

    Of `variables`, those of the process by default.

    Raises:
        ClickException: the destination's settings are wrong.

    """
    others = VARIABLES.keys() - _OF_DESTINATIONS
    environment = {
        name: value
        for name, value in (os.environ if variables is None else variables).items()
        if name.removesuffix("_FILE") not in others
    }
    try:
        # Usable settings let a sender in; none comes, since nothing is served.
        return read_settings(destination_adapters(), {**environment, "SUPPORT_EXOTEL": "true"})
    except InvalidSettings as error:
        raise click.ClickException(str(error)) from None
