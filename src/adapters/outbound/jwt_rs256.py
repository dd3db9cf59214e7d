"""`TokenVerifier` for RS256 JSON Web Tokens (RFC 7519), with PyJWT."""

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from application.ports.errors import InvalidToken
from application.ports.tokens import TokenClaims, TokenVerifier

MIN_KEY_BITS = 2048
"""Smallest RSA key that is accepted (NIST SP 800-131A)."""


class InvalidPublicKey(ValueError):
    """The text is not a public RSA key that may be used."""


def load_public_key(text: str) -> RSAPublicKey:
    r"""Read a PEM public key; surrounding quotes and literal ``\n`` are tolerated.

    Raises:
        InvalidPublicKey: it is something else; the message repeats nothing of it.

    """
    pem = text.strip().strip("\"'").replace("\\n", "\n").strip()
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
    """Verifies signature, `exp`, `iat`, `nbf` if present, and audience and issuer if configured."""

    def __init__(
        self,
        public_key: RSAPublicKey,
        *,
        audience: str | None,
        issuer: str | None,
        leeway_seconds: float,
    ) -> None:
        self._public_key = public_key
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds

    def verify(self, token: str) -> TokenClaims:
        """Return the claims of a right token. See `TokenVerifier.verify`."""
        try:
            claims = jwt.decode(
                token,
                self._public_key,
                algorithms=["RS256"],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_seconds,
                options={
                    "require": ["exp", "iat", "tenant_id"],
                    "verify_aud": self._audience is not None,
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            # Only the kind of the error: its text may hold parts of the token.
            raise InvalidToken(f"token refused: {type(error).__name__}") from error
        tenant_id, interaction_id = claims["tenant_id"], claims.get("interaction_id")
        if not isinstance(tenant_id, str) or not isinstance(interaction_id, str | None):
            raise InvalidToken("token refused: tenant_id and interaction_id must be strings")
        return TokenClaims(tenant_id, interaction_id)
