"""The credential in the `Authorization` header (RFC 7235, RFC 7617, RFC 6750)."""

import binascii
from collections.abc import Sequence

from application.access.admit_sender import (
    Credential,
    NoCredential,
    PairCredential,
    TokenCredential,
    UnusableCredential,
)


def read_credential(headers: Sequence[bytes]) -> Credential:
    """Return the credential from all `Authorization` headers of a request.

    A header that is present but cannot be read is `UnusableCredential`, never `NoCredential`.
    """
    if not headers:
        return NoCredential()
    if len(headers) > 1:
        return UnusableCredential("it came more than once")
    scheme, _, value = headers[0].strip().partition(b" ")
    value = value.strip()
    if scheme.lower() == b"bearer":
        return _read_token(value)
    if scheme.lower() == b"basic":
        return _read_pair(value)
    if not scheme:
        return UnusableCredential("it is empty")
    return UnusableCredential("its scheme is neither Bearer nor Basic")


def _read_token(value: bytes) -> Credential:
    if not value.isascii():
        return UnusableCredential("its token is not ASCII")
    return TokenCredential(value.decode("ascii"))


_NOT_BASE64 = UnusableCredential("what follows Basic is not base64 with padding")


def _read_pair(value: bytes) -> Credential:
    try:
        pair = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        return _NOT_BASE64
    if binascii.b2a_base64(pair, newline=False) != value:
        return _NOT_BASE64
    if b":" not in pair:
        return UnusableCredential("there is no colon between user name and password")
    return PairCredential(pair)
