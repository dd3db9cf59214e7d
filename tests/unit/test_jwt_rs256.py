import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from adapters.outbound.jwt_rs256 import InvalidPublicKey, JwtRs256Verifier, load_public_keys
from application.ports.errors import InvalidToken
from application.ports.tokens import TokenClaims

KEY = rsa.generate_private_key(65_537, 2_048)
OTHER_KEY = rsa.generate_private_key(65_537, 2_048)
SMALL_KEY = rsa.generate_private_key(65_537, 1_024)  # noqa: S505  # to be refused
LEEWAY = 30
DEEP = "[" * 100_000 + "]" * 100_000


def public_pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: rsa.RSAPrivateKey, kind: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, kind, NoEncryption()).decode()


PEM = public_pem(KEY)


def verifier(audience: str | None = None, issuer: str | None = None) -> JwtRs256Verifier:
    return JwtRs256Verifier(
        load_public_keys(PEM), audience=audience, issuer=issuer, leeway_seconds=LEEWAY
    )


def right(**changes: Any) -> dict[str, Any]:
    """Return claims that verify, with `changes`; a change to `...` takes the claim away."""
    now = int(time.time())
    claims = {"tenant_id": "alice", "iat": now, "exp": now + 60, **changes}
    return {name: value for name, value in claims.items() if value is not ...}


def part(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return urlsafe_b64encode(data).rstrip(b"=")


def signed(header: str, payload: str | bytes, key: rsa.RSAPrivateKey = KEY) -> str:
    """Sign any text whatever with RS256, past all checks of a library."""
    content = part(header) + b"." + part(payload)
    signature = key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return (content + b"." + part(signature)).decode()


def token(claims: dict[str, Any], header: dict[str, Any] | None = None, **changes: Any) -> str:
    head = {"alg": "RS256", "typ": "JWT"} if header is None else header
    return signed(json.dumps(head), json.dumps(claims), **changes)


def test_a_right_token_is_verified() -> None:
    assert verifier().verify(token(right())) == TokenClaims("alice", None)
    claims = right(interaction_id="call", sub="someone", extra={"a": [1]})
    assert verifier().verify(token(claims)) == TokenClaims("alice", "call")


@pytest.mark.parametrize("name", ["sub", "jti", "azp", "kid", "iss", "aud"])
@pytest.mark.parametrize(
    "value", [42, 7.5, True, None, {"id": 1}, ["a"], "", DEEP[:10] + DEEP[-10:]]
)
def test_a_claim_that_is_not_asked_for_may_be_anything(name: str, value: Any) -> None:
    assert verifier().verify(token(right(**{name: value}))) == TokenClaims("alice", None)


def test_a_token_of_any_of_the_keys_is_verified() -> None:
    """The keys are rotated: the old and the new one are configured for a while."""
    rotating = JwtRs256Verifier(
        load_public_keys(f"old:\n{PEM}\nnew:\n{public_pem(OTHER_KEY)}"),
        audience=None,
        issuer=None,
        leeway_seconds=LEEWAY,
    )
    for key in (KEY, OTHER_KEY):
        assert rotating.verify(token(right(), key=key)) == TokenClaims("alice", None)
    for claims in (right(exp=1), right(iat=...), right(tenant_id=...)):
        for key in (KEY, OTHER_KEY):
            with pytest.raises(InvalidToken):
                rotating.verify(token(claims, key=key))
    with pytest.raises(InvalidToken):
        rotating.verify(token(right(), key=rsa.generate_private_key(65_537, 2_048)))


def test_each_of_several_keys_is_checked_and_the_wrong_one_is_told() -> None:
    small, private = public_pem(SMALL_KEY), private_pem(KEY, PrivateFormat.PKCS8)
    for text, expected in (
        (PEM + small, "block 2 of 2: an RSA key of 1024 bits"),
        (private + PEM + PEM, "block 1 of 3: a private key"),
        (PEM + PEM[:200], "block 2 of 2: no PEM public key"),
        (PEM + "-----BEGIN CERTIFICATE-----\nMII", "block 2 of 2: no PEM public key"),
        (PEM * 17, "17 PEM blocks"),
    ):
        for form in (text, text.replace("\n", "\\n"), f'"{text}"'):
            with pytest.raises(InvalidPublicKey) as refused:
                load_public_keys(form)
            assert str(refused.value) == expected
    assert len(load_public_keys(PEM * 16)) == 16


def test_a_token_of_another_library_is_verified() -> None:
    assert verifier().verify(jwt.encode(right(), KEY, "RS256")) == TokenClaims("alice", None)


def test_audience_and_issuer_are_checked_where_configured() -> None:
    strict = verifier(audience="ingest", issuer="us")
    assert strict.verify(token(right(aud="ingest", iss="us"))).tenant_id == "alice"
    assert strict.verify(token(right(aud=["other", "ingest"], iss="us"))).tenant_id == "alice"


def test_audience_and_issuer_are_not_looked_at_where_not_configured() -> None:
    assert verifier().verify(token(right(aud="anyone", iss="anyone"))).tenant_id == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ...}, {"iss": ...}, {"aud": "other"}, {"iss": "other"}, {"aud": []}, {"aud": None},
        {"aud": ["other"]}, {"aud": 1}, {"iss": None}, {"iss": ["us"]}, {"iss": 1},
        {"aud": "ingest2"}, {"aud": "INGEST"},
    ],
)  # fmt: skip
def test_another_audience_or_issuer_is_refused(changes: dict[str, Any]) -> None:
    claims = right(**{"aud": "ingest", "iss": "us", **changes})
    with pytest.raises(InvalidToken):
        verifier(audience="ingest", issuer="us").verify(token(claims))


def test_clocks_may_differ_by_the_leeway() -> None:
    now = int(time.time())
    for claims in (right(exp=now - LEEWAY + 10), right(iat=now + LEEWAY - 10)):
        assert verifier().verify(token(claims)).tenant_id == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exp": lambda now: now - LEEWAY - 10}, id="expired"),
        pytest.param({"exp": lambda _: 0}, id="expired in 1970"),
        pytest.param({"exp": lambda _: ...}, id="no exp"),
        pytest.param({"exp": lambda _: None}, id="exp null"),
        pytest.param({"exp": lambda _: "never"}, id="exp a word"),
        pytest.param({"exp": lambda _: []}, id="exp a list"),
        pytest.param({"exp": lambda _: float("inf")}, id="exp infinite"),
        pytest.param({"exp": lambda _: float("nan")}, id="exp not a number"),
        pytest.param({"iat": lambda _: ...}, id="no iat"),
        pytest.param({"iat": lambda _: None}, id="iat null"),
        pytest.param({"iat": lambda _: "now"}, id="iat a word"),
        pytest.param({"iat": lambda _: {}}, id="iat an object"),
        pytest.param({"iat": lambda _: float("inf")}, id="iat infinite"),
        pytest.param({"iat": lambda now: now + LEEWAY + 10}, id="future iat"),
        pytest.param({"nbf": lambda now: now + LEEWAY + 10}, id="future nbf"),
        pytest.param({"nbf": lambda _: "later"}, id="nbf a word"),
        pytest.param({"tenant_id": lambda _: ...}, id="no tenant"),
        pytest.param({"tenant_id": lambda _: None}, id="tenant null"),
        pytest.param({"tenant_id": lambda _: 1}, id="tenant a number"),
        pytest.param({"tenant_id": lambda _: True}, id="tenant a boolean"),
        pytest.param({"tenant_id": lambda _: ["alice"]}, id="tenant a list"),
        pytest.param({"tenant_id": lambda _: {"alice": 1}}, id="tenant an object"),
        pytest.param({"interaction_id": lambda _: 1}, id="interaction a number"),
        pytest.param({"interaction_id": lambda _: ["call"]}, id="interaction a list"),
    ],
)
def test_a_signed_token_with_wrong_claims_is_refused(
    changes: dict[str, Callable[[int], Any]],
) -> None:
    now = int(time.time())
    claims = right(**{name: value(now) for name, value in changes.items()})
    with pytest.raises(InvalidToken):
        verifier().verify(token(claims))


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(token(right(), key=OTHER_KEY))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("signature", [b"", b"c2lnbmF0dXJl"])
def test_a_token_without_algorithm_is_refused(algorithm: str, signature: bytes) -> None:
    content = part(json.dumps({"alg": algorithm})) + b"." + part(json.dumps(right()))
    with pytest.raises(InvalidToken):
        verifier().verify((content + b"." + signature).decode())


@pytest.mark.parametrize("secret", [PEM, PEM.strip(), PEM.rstrip("\n") + "\n\n"])
def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(secret: str) -> None:
    content = part('{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(right()))
    signature = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    with pytest.raises(InvalidToken):
        verifier().verify((content + b"." + part(signature)).decode())


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS384"}, {"alg": "RS512"}, {"alg": "PS256"}, {"alg": "ES256"}, {"alg": "HS256"},
        {"alg": "rs256"}, {"alg": ""}, {"alg": None}, {"alg": 1}, {"alg": ["RS256"]},
        {"alg": {"RS256": 1}}, {},
        {"alg": "RS256", "kid": 1}, {"alg": "RS256", "kid": ["x"]}, {"alg": "RS256", "kid": {}},
        {"alg": "RS256", "crit": ["exotic"], "exotic": 1}, {"alg": "RS256", "crit": ["exp"]},
        {"alg": "RS256", "crit": []}, {"alg": "RS256", "crit": "b64"},
        {"alg": "RS256", "crit": ["b64"], "b64": False},
    ],
)  # fmt: skip
def test_a_signed_token_with_an_odd_header_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(token(right(), header))


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS512"])
def test_a_token_rightly_signed_with_another_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(jwt.encode(right(), KEY, algorithm))


@pytest.mark.parametrize(
    "pointer",
    [
        {"jku": "https://attacker.example/keys.json"},
        {"x5u": "https://attacker.example/key.pem"},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_KEY.public_key()))},
    ],
)
def test_no_header_can_choose_the_key(pointer: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(token(right(), {"alg": "RS256", **pointer}, key=OTHER_KEY))


@pytest.mark.parametrize(
    "garbage",
    [
        "", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", " ", "\0", "\n", "é.é.é", "=.=.=",
        "\ud800", "🙂", "{}", "null", "e30.e30.e30", "W10.W10.W10", "x" * 1_000_000,
        ".".join(["x" * 333_333] * 3), "." * 1_000_000,
    ],
    ids=lambda garbage: repr(garbage[:12]),
)  # fmt: skip
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(garbage)


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ('{"alg":"RS256"}', DEEP),
        ('{"alg":"RS256"}', '{"exp":9999999999,"iat":1,"tenant_id":"alice","x":' + DEEP + "}"),
        (DEEP, "{}"),
        ('{"alg":"RS256","x":' + DEEP + "}", "{}"),
        ('{"alg":"RS256"}', ""),
        ('{"alg":"RS256"}', "null"),
        ('{"alg":"RS256"}', '"alice"'),
        ('{"alg":"RS256"}', "[]"),
        ('{"alg":"RS256"}', "{"),
        ('{"alg":"RS256"}', b"\xff\xfe\x80"),
        ('{"alg":"RS256"}', '{"exp":' + "9" * 5_000 + ',"iat":1,"tenant_id":"alice"}'),
        ("null", "{}"),
        ("[]", "{}"),
        ('"RS256"', "{}"),
    ],
    ids=range(14),
)
def test_a_signed_payload_that_is_no_set_of_claims_is_refused(
    header: str, payload: str | bytes
) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(signed(header, payload))


def test_a_changed_signature_or_payload_is_refused() -> None:
    header, payload, signature = token(right()).split(".")
    other = part(json.dumps(right(tenant_id="bob"))).decode()
    for changed in (f"{header}.{other}.{signature}", f"{header}.{payload}.{signature[:-4]}AAAA"):
        with pytest.raises(InvalidToken):
            verifier().verify(changed)


def test_a_refusal_repeats_nothing_of_the_token() -> None:
    for claims in (right(aud="s3cret"), right(exp="s3cret"), right(tenant_id=["s3cret"])):
        with pytest.raises(InvalidToken) as refused:
            verifier(audience="ingest").verify(token(claims))
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM.strip(),
        f"\n\n  {PEM}  \n",
        f'"{PEM}"',
        f"'{PEM}'",
        PEM.replace("\n", "\\n"),
        '"' + PEM.replace("\n", "\\n") + '"',
        "'" + PEM.strip().replace("\n", "\\n") + "'",
        PEM.replace("\n", "\r\n"),
    ],
    ids=range(9),
)
def test_a_public_key_is_read_as_it_comes_out_of_an_environment(text: str) -> None:
    (key,) = load_public_keys(text)
    assert key.public_numbers() == KEY.public_key().public_numbers()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("secret", id="a word"),
        pytest.param("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", id="empty PEM"),
        pytest.param(PEM[:200], id="cut PEM"),
        pytest.param(PEM.replace("MII", "XXX"), id="broken PEM"),
        pytest.param(private_pem(KEY, PrivateFormat.PKCS8), id="private key"),
        pytest.param(private_pem(KEY, PrivateFormat.TraditionalOpenSSL), id="RSA private key"),
        pytest.param(
            private_pem(KEY, PrivateFormat.PKCS8).replace("\n", "\\n"), id="private in one line"
        ),
        pytest.param(PEM + private_pem(KEY, PrivateFormat.PKCS8), id="both"),
        pytest.param(public_pem(ec.generate_private_key(ec.SECP256R1())), id="EC key"),
        pytest.param(public_pem(ed25519.Ed25519PrivateKey.generate()), id="Ed25519 key"),
        pytest.param(public_pem(SMALL_KEY), id="1024 bits"),
        pytest.param("\ud800", id="no text"),
    ],
)
def test_what_is_no_public_rsa_key_of_2048_bits_is_refused(text: str) -> None:
    with pytest.raises(InvalidPublicKey) as refused:
        load_public_keys(text)
    assert text == "" or text[30:60] not in str(refused.value) or len(text) < 60


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": ...}, "it has no exp"),
        ({"iat": ...}, "it has no iat"),
        ({"tenant_id": None}, "it has no tenant_id"),
        ({"aud": ...}, "it has no aud"),
        ({"iss": ...}, "it has no iss"),
        ({"exp": 1}, "it has expired"),
        ({"iat": 2**40}, "its iat lies in the future: a clock is off"),
        ({"nbf": 2**40}, "its nbf lies in the future: a clock is off"),
        ({"exp": "s3cret"}, "its exp is no time"),
        ({"iat": "s3cret"}, "its iat is no time"),
        ({"nbf": "s3cret"}, "its nbf is no time"),
        ({"aud": "s3cret"}, "it is for another audience"),
        ({"iss": "s3cret"}, "it is of another issuer"),
        ({"iss": 1}, "it is of another issuer"),
        ({"tenant_id": 1}, "tenant_id and interaction_id must be strings"),
    ],
)
def test_what_is_wrong_with_the_claims_of_a_token_is_told_in_plain_words(
    changes: dict[str, Any], why: str
) -> None:
    claims = right(**{"aud": "ingest", "iss": "us", **changes})
    with pytest.raises(InvalidToken) as refused:
        verifier(audience="ingest", issuer="us").verify(token(claims))
    assert str(refused.value).startswith(f"token refused: {why}")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (token(right(), key=OTHER_KEY), "its signature is of another key"),
        (jwt.encode(right(), KEY, "RS512"), "its algorithm is not RS256"),
        (jwt.encode(right(), "s" * 40, "HS256"), "its algorithm is not RS256"),
        ("", "it is no JWT"),
        ("s3cret", "it is no JWT"),
        ("s3cret.s3cret.s3cret", "it is no JWT"),
        (f'"{token(right())}"', "it is no JWT"),
    ],
    ids=range(7),
)
def test_what_is_wrong_with_a_token_is_told_in_plain_words(shown: str, why: str) -> None:
    with pytest.raises(InvalidToken) as refused:
        verifier().verify(shown)
    assert str(refused.value) == f"token refused: {why}"
