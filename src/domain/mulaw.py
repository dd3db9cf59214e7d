"""µ-law of G.711 as linear samples."""


def _linear(code: int) -> int:
    inverted = ~code & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + 0x84) << ((inverted & 0x70) >> 4)
    return 0x84 - magnitude if inverted & 0x80 else magnitude - 0x84


LINEAR = tuple(_linear(code) for code in range(256))
"""The 16-bit sample of each code."""
