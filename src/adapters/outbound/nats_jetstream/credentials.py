"""A credentials file: the JWT of a user and the seed of its nkey, which signs the server's nonce.

A file with a seed alone is a user that the server knows by its public nkey.
"""

import re
from base64 import b32decode, b32encode, urlsafe_b64encode
from binascii import Error, crc_hqx
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_JWT = re.compile(r"-----BEGIN NATS USER JWT-----\s+(\S+)\s+-{3,}END NATS USER JWT-{3,}")
_SEED = re.compile(r"^(SU[A-Z2-7]{56})$", re.MULTILINE)

_SEED_PREFIX = 18 << 3
_USER_PREFIX = 20 << 3
_USER_BYTE = bytes([_USER_PREFIX])
_SEED_BYTES = 32


class UnusableCredentials(ValueError):
    """The text has no valid credentials; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's key, and its JWT if it has one."""

    jwt: str | None = field(repr=False)
    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def read(cls, text: str) -> "Credentials":
        """Read the text of a credentials file.

        Raises:
            UnusableCredentials: it is not valid.

        """
        text = text.replace("\r\n", "\n")
        jwt, seed = _JWT.search(text), _SEED.search(text)
        if seed is None:
            raise UnusableCredentials("no seed of a user's nkey (SU…)")
        if jwt is None and "BEGIN" in text and "JWT" in text:
            raise UnusableCredentials("a JWT that is cut off")
        return cls(None if jwt is None else jwt[1], _key(seed[1]))

    def sign(self, nonce: str) -> str:
        """Return the signature of a server's nonce, as CONNECT wants it."""
        return urlsafe_b64encode(self.key.sign(nonce.encode())).rstrip(b"=").decode()

    @property
    def public_nkey(self) -> str:
        """The name of the user at a server that knows it by its key."""
        raw = _USER_BYTE + self.key.public_key().public_bytes_raw()
        return b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def _key(seed: str) -> Ed25519PrivateKey:
    try:
        raw = b32decode(seed + "=" * (-len(seed) % 8))
    except Error as error:
        raise UnusableCredentials("a seed that is no base32") from error
    body, check = raw[:-2], raw[-2:]
    kind = (raw[0] & 0b111) << 5 | raw[1] >> 3
    if raw[0] & 0b11111000 != _SEED_PREFIX or kind != _USER_PREFIX:
        raise UnusableCredentials("a seed that is not of a user")
    if crc_hqx(body, 0).to_bytes(2, "little") != check or len(body) != 2 + _SEED_BYTES:
        raise UnusableCredentials("a seed with a wrong check sum: it was copied wrongly")
    return Ed25519PrivateKey.from_private_bytes(body[2:])
