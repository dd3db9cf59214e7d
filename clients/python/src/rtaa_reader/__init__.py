"""Read the calls that rtaa-ingest publishes: each call by one worker, each frame committed once."""

from rtaa_reader.async_reader import AsyncReader
from rtaa_reader.events import Audio, Call, Dtmf, Ended, Event, Gap, Mark, Started
from rtaa_reader.reader import Reader
from rtaa_reader.wav import to_wav
from rtaa_reader.worker import Options

__all__ = [
    "AsyncReader", "Audio", "Call", "Dtmf", "Ended", "Event", "Gap", "Mark", "Options", "Reader",
    "Started", "to_wav",
]  # fmt: skip
