"""Read the calls that rtaa-ingest publishes: one worker per call, each frame committed once."""

from rtaa_reader.async_reader import AsyncReader as AsyncReader
from rtaa_reader.events import Audio as Audio
from rtaa_reader.events import Call as Call
from rtaa_reader.events import Dtmf as Dtmf
from rtaa_reader.events import Ended as Ended
from rtaa_reader.events import Event as Event
from rtaa_reader.events import Gap as Gap
from rtaa_reader.events import Mark as Mark
from rtaa_reader.events import Started as Started
from rtaa_reader.options import Options as Options
from rtaa_reader.reader import Reader as Reader
from rtaa_reader.wav import to_wav as to_wav
