"""Carriers' names for codecs and sample rates: labels, media types, and rates with units."""

import re

from domain.errors import InvalidMedia
from domain.media import SAMPLE_RATES_HZ, Encoding

_RATE = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(k?)\s*(?:hz)?\s*\Z", re.IGNORECASE)
_SEPARATORS = re.compile(r"[/,\s]+")
_LINEAR = frozenset({
    "raw", "base64", "l16", "pcm", "pcm16", "lpcm", "pcm_s16le", "s16le", "slin", "slin16",
    "linear", "linear16",
})  # fmt: skip
_MULAW = frozenset({"mulaw", "ulaw", "mu-law", "u-law", "pcmu", "g711_ulaw"})


def encoding_of(label: str) -> Encoding:
    """Return the codec of a label, which mostly names the transport; absent means linear PCM.

    Raises:
        InvalidMedia: another codec, or an unknown label: audio is not relabelled.

    """
    name = label.partition(";")[0].strip().lower()
    words = {word.removeprefix("x-") for word in _SEPARATORS.split(name) if word} - {"audio"}
    if words and words <= _MULAW | {"base64", "raw"} and words & _MULAW:
        return Encoding.MULAW
    if words <= _LINEAR:
        return Encoding.PCM16
    raise InvalidMedia("media_format.encoding is neither linear PCM nor mu-law")


def rate_of(value: object) -> int | None:
    """Read a sample rate: 8000, "8000", "8000Hz", "16kHz"; None if it is unknown."""
    number = number_of(value)
    rate = None if number is None else round(number)
    return rate if rate in SAMPLE_RATES_HZ else None


def number_of(value: object) -> float | None:
    """Read a number of at most six digits, so that it cannot be a phone number; else None."""
    match = _RATE.match(str(value)) if isinstance(value, str | int | float) else None
    if match is None:
        return None
    number = float(match[1]) * (1_000 if match[2] else 1)
    return int(number) if number.is_integer() else number


def parameter_of(label: str, name: str) -> str | None:
    """Read a parameter of a media type such as `audio/l16;rate=16000`."""
    for part in label.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip()
    return None
