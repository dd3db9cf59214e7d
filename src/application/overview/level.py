"""How loud a frame is."""

from domain.media import AudioFrame, Encoding
from domain.mulaw import LINEAR

MAX_SAMPLES = 160
"""How many samples of a frame are looked at, evenly spread."""

FULL_SCALE = 32_768


def level_of(frame: AudioFrame) -> float:
    """Return the root mean square of a frame: 0 is silence, 1 full scale."""
    audio, width = frame.audio, frame.media.sample_width
    step = max(1, len(audio) // width // MAX_SAMPLES) * width
    if frame.media.encoding is Encoding.MULAW:
        squares = [_MULAW_SQUARES[code] for code in audio[::step]]
    else:
        pairs = zip(audio[0::step], audio[1::step], strict=True)
        squares = [(((high << 8 | low) ^ FULL_SCALE) - FULL_SCALE) ** 2 for low, high in pairs]
    mean: float = (sum(squares) / len(squares)) ** 0.5
    return mean / FULL_SCALE


_MULAW_SQUARES = [sample**2 for sample in LINEAR]
