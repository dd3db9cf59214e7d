"""Samples for speech recognisers. Needs the extra `rtaa-reader[soxr]`."""

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from rtaa_reader.events import Audio, Ended, Event


class Resampler:
    """Converts each run's frames, in order, to mono float samples between -1 and 1.

    The samples have `sample_rate`. The filter delays some milliseconds, which come with later
    frames and with the end. It keeps a filter for each run until `Ended`, or until `drop` of the
    stream.
    """

    def __init__(self, sample_rate: int = 16_000) -> None:
        self._rate, self._filters = sample_rate, dict[tuple[str, str], Any]()

    def feed(self, event: Event) -> NDArray[np.float32]:
        """Return the samples that are ready; none for events other than frames and ends."""
        key, samples = (event.stream, event.run), np.zeros(0, np.float32)
        if isinstance(event, Audio):
            frame = np.frombuffer(event.pcm16, "<i2").reshape(-1, event.call.channels)
            samples = (frame.mean(axis=1) / 32768).astype(np.float32)
            if key not in self._filters:
                self._filters[key] = soxr.ResampleStream(event.call.sample_rate, self._rate, 1)
        ends = isinstance(event, Ended)
        filter_ = self._filters.pop(key, None) if ends else self._filters.get(key)
        return samples if filter_ is None else np.asarray(filter_.resample_chunk(samples, ends))

    def drop(self, stream: str) -> None:
        """Drop the filters of a stream that another worker has taken over."""
        self._filters = {key: it for key, it in self._filters.items() if key[0] != stream}
