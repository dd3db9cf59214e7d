"""Adapters of other distributions, as they are installed: usable, gone, or half made."""

from pathlib import Path

import pytest

from entrypoints.registry import destination_adapters
from entrypoints.settings import InvalidSettings, read_settings

MODULE = """
from adapters.outbound.in_memory import InMemory

class Right(InMemory):
    name = "right"

class Half:
    name = "half"
    variables = ()

class Taken(InMemory):
    name = "redis_streams"

class Raising:
    def __init__(self):
        raise OSError("no licence")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with five adapters, on the path."""
    (tmp_path / "others_adapters.py").write_text(MODULE)
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    points = {
        "right": "others_adapters:Right",
        "half": "others_adapters:Half",
        "gone": "others_gone:Adapter",
        "raising": "others_adapters:Raising",
        "taken": "others_adapters:Taken",
    }
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[rtaa_ingest.destinations]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["right", "in_memory"])
def test_one_that_cannot_be_loaded_is_no_matter_of_those_who_choose_another(name: str) -> None:
    settings = read_settings(
        destination_adapters(), {"PUBSUB_ADAPTER": name, "SUPPORT_EXOTEL": "true"}
    )
    assert settings.adapter.name == name


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gone", "gone, which cannot be loaded from others_gone:Adapter: ModuleNotFoundError"),
        ("raising", "raising, which cannot be loaded from others_adapters:Raising: OSError"),
        ("half", "half, which lacks is_shared, problems, describe, connect"),
    ],
)
def test_one_that_cannot_be_used_is_named_to_those_who_choose_it(name: str, found: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        read_settings(destination_adapters(), {"PUBSUB_ADAPTER": name, "SUPPORT_EXOTEL": "true"})
    assert found in str(error.value)
    assert "PUBSUB_ADAPTER" in str(error.value)


@pytest.mark.usefixtures("installed")
def test_our_own_names_cannot_be_taken_over() -> None:
    assert type(destination_adapters()["redis_streams"]).__name__ == "RedisStreams"
