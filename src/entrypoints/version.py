"""The version of the distribution, which only `pyproject.toml` defines."""

from importlib.metadata import version

VERSION = version("rtaa-ingest")
