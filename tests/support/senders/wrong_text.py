"""Text that is not UTF-8, and text of which every byte matters (RFC 3629)."""

SPLIT_TEXT = "aé€😀z"
"""Characters of one, two, three and four bytes."""

INVALID_UTF8 = {
    "continuation alone": b"\x80",
    "truncated 2": b"a\xc3",
    "truncated 3": b"a\xe2\x82",
    "truncated 4": b"a\xf0\x9f\x98",
    "overlong slash": b"\xc0\xaf",
    "overlong 3": b"\xe0\x80\xaf",
    "overlong 4": b"\xf0\x80\x80\xaf",
    "overlong NUL": b"\xc0\x80",
    "surrogate": b"\xed\xa0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "0xFE": b"\xfe",
    "0xFF": b"\xff",
    "in the middle": "κόσμε".encode() + b"\xff" + b"edited",
}


def pattern(size: int) -> bytes:
    """Return ASCII in which a shift shows."""
    return b"".join(b"%07x." % n for n in range(size // 8 + 1))[:size]
