import pytest

from application.delivery.byte_budget import BufferLimits
from application.ports.destination import DestinationOptions
from entrypoints.configuration import Reader, read_settings
from entrypoints.environment import read_environment
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import VARIABLES

LEAST = {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}


def test_the_defaults_of_variables_are_those_of_the_application() -> None:
    settings = read_settings(destination_adapters(), LEAST)
    assert settings.buffer_limits == BufferLimits()
    assert settings.destination_options == DestinationOptions()


@pytest.mark.parametrize("name", ["SUPPORT_EXOTL", "PUBSUB_ADAPTER"])
def test_a_check_of_a_variable_that_is_not_declared_is_a_fault(name: str) -> None:
    reader = Reader(read_environment(LEAST, VARIABLES.keys()))
    for ask in (reader.is_given, reader.is_right):
        with pytest.raises(KeyError, match=name):
            ask(name)
