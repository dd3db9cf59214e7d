"""Operators, accounts and users of NATS, made for tests: nkeys, JWTs and credentials files."""

import hashlib
import json
import time
from base64 import b32encode, urlsafe_b64encode
from binascii import crc_hqx
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED, KINDS = 18 << 3, {"O": 14 << 3, "A": 0, "U": 20 << 3}


class Nkey:
    """A key pair of one kind: O, A or U."""

    def __init__(self, kind: str) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._kind = KINDS[kind]

    @property
    def public(self) -> str:
        return _text(bytes([self._kind]) + self._key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        first = bytes([SEED | self._kind >> 5, (self._kind & 0b11111) << 3])
        return _text(first + self._key.private_bytes_raw())

    def sign(self, subject: str, name: str, about: dict[str, Any]) -> str:
        """Return a JWT about another key."""
        claims: dict[str, Any] = {
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject,
            "nats": {"version": 2, **about},
        }
        claims["jti"] = b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode()
        head = _segment({"typ": "JWT", "alg": "ed25519-nkey"})
        body = f"{head}.{_segment(claims)}"
        signature = urlsafe_b64encode(self._key.sign(body.encode())).rstrip(b"=").decode()
        return f"{body}.{signature}"


@dataclass(frozen=True)
class Operator:
    """A server's configuration with one account, and the credentials file of a user of it."""

    config: str
    credentials: str


def make_operator() -> Operator:
    """Make an operator, an account with JetStream, and a user."""
    operator, account, system, user = Nkey("O"), Nkey("A"), Nkey("A"), Nkey("U")
    limits = {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    }  # fmt: skip
    operator_jwt = operator.sign(operator.public, "operator", {"type": "operator"})
    account_jwt = operator.sign(account.public, "A", {"type": "account", "limits": limits})
    plain = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    system_jwt = operator.sign(
        system.public, "SYS", {"type": "account", "limits": {**plain, "wildcards": True}}
    )
    user_limits = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
    user_jwt = account.sign(user.public, "rtaa", {"type": "user", **user_limits})
    config = (
        f"operator: {operator_jwt}\nresolver: MEMORY\n"
        f"system_account: {system.public}\nresolver_preload: {{\n"
        f"  {account.public}: {account_jwt}\n  {system.public}: {system_jwt}\n}}\n"
    )
    return Operator(config, credentials_file(user_jwt, user.seed))


def credentials_file(jwt: str, seed: str) -> str:
    """Write the file as `nsc` writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n"
        "NKEYs are sensitive and should be treated as secrets.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def _text(raw: bytes) -> str:
    return b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def _segment(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
