"""The version of the distribution; `pyproject.toml` is the one place where it is written."""

from importlib.metadata import version

VERSION = version("rtaa-ingest")
