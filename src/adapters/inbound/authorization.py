"""The credential in the `Authorization` header (RFC 7235, RFC 7617, RFC 6750)."""

import binascii
from collections.abc import Sequence

from application.admit_sender import (
    Credential,
    NoCredential,
    PairCredential,
    TokenCredential,
    UnusableCredential,
)


def read_credential(headers: Sequence[bytes]) -> Credential:
    """Return what all `Authorization` headers of a request show together.

    A header that is there but cannot be read is `UnusableCredential`, never `NoCredential`.
    """
    if not headers:
        return NoCredential()
    if len(headers) > 1:
        return UnusableCredential()
    scheme, _, value = headers[0].strip().partition(b" ")
    value = value.strip()
    if scheme.lower() == b"bearer" and value.isascii():
        return TokenCredential(value.decode("ascii"))
    if scheme.lower() == b"basic":
        return _read_pair(value)
    return UnusableCredential()


def _read_pair(value: bytes) -> Credential:
    try:
        pair = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        return UnusableCredential()
    if b":" not in pair or binascii.b2a_base64(pair, newline=False) != value:
        return UnusableCredential()
    return PairCredential(pair)
