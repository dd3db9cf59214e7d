"""`TokenVerifier` for RS256 JSON Web Tokens (RFC 7519), with PyJWT."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from application.ports.errors import InvalidToken
from application.ports.tokens import TokenClaims, TokenVerifier

MIN_KEY_BITS = 2048
"""Smallest RSA key that is accepted (NIST SP 800-131A)."""

MAX_KEYS = 16
"""More than any rotation needs, since an invalid token is tried with each key."""

_BEGIN = "-----BEGIN "


class InvalidPublicKey(ValueError):
    """The text is not a public RSA key that may be used."""


def load_public_keys(text: str) -> tuple[RSAPublicKey, ...]:
    r"""Read PEM public keys; surrounding quotes and literal ``\n`` are tolerated.

    Text before, between and after the blocks is a comment (RFC 7468).

    Raises:
        InvalidPublicKey: one is not such a key; the message names it, without its contents.

    """
    pem = text.strip().strip("\"'").replace("\\n", "\n").strip()
    _, *blocks = pem.split(_BEGIN)
    if len(blocks) > MAX_KEYS:
        raise InvalidPublicKey(f"{len(blocks)} PEM blocks")
    if not blocks:
        raise InvalidPublicKey("no PEM public key")
    keys = []
    for number, block in enumerate(blocks, 1):
        try:
            keys.append(_load_public_key(_BEGIN + block))
        except InvalidPublicKey as error:
            if len(blocks) == 1:
                raise
            raise InvalidPublicKey(f"block {number} of {len(blocks)}: {error}") from error
    return tuple(keys)


def _load_public_key(pem: str) -> RSAPublicKey:
    if "PRIVATE KEY" in pem:
        raise InvalidPublicKey("a private key")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidPublicKey("no PEM public key") from error
    if not isinstance(key, RSAPublicKey):
        raise InvalidPublicKey("a key that is not RSA")
    if key.key_size < MIN_KEY_BITS:
        raise InvalidPublicKey(f"an RSA key of {key.key_size} bits")
    return key


class JwtRs256Verifier(TokenVerifier):
    """Verifies signature, `exp`, `iat`, `nbf` if present, and audience and issuer if configured.

    Any of the keys may match the signature. Other claims are ignored.
    """

    def __init__(
        self,
        public_keys: Sequence[RSAPublicKey],
        *,
        audience: str | None,
        issuer: str | None,
        leeway_seconds: float,
    ) -> None:
        self._public_keys = tuple(public_keys)
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds

    def verify(self, token: str) -> TokenClaims:
        """Return the claims of a valid token. See `TokenVerifier.verify`."""
        try:
            claims = self._decode(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            # In our own words: the error's text may have parts of the token.
            raise InvalidToken(f"token refused: {_why(error)}") from error
        tenant_id, interaction_id = claims["tenant_id"], claims.get("interaction_id")
        if not isinstance(tenant_id, str) or not isinstance(interaction_id, str | None):
            raise InvalidToken("token refused: tenant_id and interaction_id must be strings")
        return TokenClaims(tenant_id, interaction_id)

    def _decode(self, token: str) -> dict[str, Any]:
        *others, last = self._public_keys
        for key in others:
            with suppress(jwt.InvalidSignatureError):  # another key may have made it
                return self._decode_by(key, token)
        return self._decode_by(last, token)

    def _decode_by(self, key: RSAPublicKey, token: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway_seconds,
            options={
                "require": ["exp", "iat", "tenant_id"],
                "verify_aud": self._audience is not None,
                "verify_iss": self._issuer is not None,
                "verify_sub": False,
                "verify_jti": False,
                "enforce_minimum_key_length": True,
            },
        )


_CLAIMS = ("exp", "iat", "nbf", "aud", "iss", "tenant_id")
"""The claims that an error may be about."""

_WHY: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.InvalidSignatureError, "its signature is of another key"),
    (jwt.InvalidAudienceError, "it is for another audience (aud)"),
    (jwt.InvalidIssuerError, "it is of another issuer (iss)"),
    (jwt.InvalidAlgorithmError, "its algorithm is not RS256"),
)


def _why(error: Exception) -> str:
    """Explain the error of a token, without any part of the token."""
    for kind, words in _WHY:
        if isinstance(error, kind):
            return words
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no {error.claim}" if error.claim in _CLAIMS else "it lacks a claim"
    if isinstance(error, jwt.PyJWTError):
        claim = next((claim for claim in _CLAIMS if f"({claim})" in str(error)), None)
        if claim is not None and isinstance(error, jwt.ImmatureSignatureError):
            return f"its {claim} lies in the future: a clock is off, or it is used too early"
        if claim is not None:
            return f"its {claim} is no time"
    return "it is no JWT"
