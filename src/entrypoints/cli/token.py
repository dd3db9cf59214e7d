"""`rtaa-ingest token`: a bearer token for trying things out."""

import os
import time
from pathlib import Path
from typing import Any

import click
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from domain.errors import InvalidIdentifier
from domain.identifiers import InteractionId, TenantId

KEY_BITS = 2048
"""Smallest RSA key that the service accepts, and what `--new-key` makes."""


@click.command()
@click.option("--key", type=click.Path(path_type=Path), help="The private key, PEM.")
@click.option("--tenant", help="The tenant whose calls the token lets in.")
@click.option("--interaction", help="Narrow the token to this one interaction.")
@click.option(
    "--expires-in",
    type=click.IntRange(1),
    default=3600,
    show_default=True,
    help="Seconds from now.",
)
@click.option("--audience", help="The claim aud, for JWT_AUDIENCE.")
@click.option("--issuer", help="The claim iss, for JWT_ISSUER.")
@click.option(
    "--new-key",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Instead of a token: write a fresh key pair to this directory.",
)
def token(
    *,
    key: Path | None,
    tenant: str | None,
    interaction: str | None,
    expires_in: int,
    audience: str | None,
    issuer: str | None,
    directory: Path | None,
) -> None:
    """Mint an RS256 token (on standard output), or a key pair to mint tokens with."""
    if directory is not None:
        if key is not None or tenant is not None:
            raise click.UsageError("--new-key goes without --key and --tenant")
        _write_pair(directory)
        return
    if key is None or tenant is None:
        raise click.UsageError("needed: --key and --tenant, or --new-key DIR for a first key")
    claims = _claims(tenant, interaction, expires_in)
    claims |= {name: value for name, value in (("aud", audience), ("iss", issuer)) if value}
    click.echo(mint(_read_private_key(key), claims))


def mint(key: rsa.RSAPrivateKey, claims: dict[str, Any]) -> str:
    """Sign a token of `claims`."""
    return jwt.encode(claims, key, algorithm="RS256")


def new_pair() -> tuple[rsa.RSAPrivateKey, str]:
    """Return a fresh private key, and its public key in PEM."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    public_pem = private_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return private_key, public_pem.decode()


def _claims(tenant: str, interaction: str | None, expires_in: int) -> dict[str, Any]:
    now = int(time.time())
    claims: dict[str, Any] = {"iat": now, "exp": now + expires_in}
    try:
        claims["tenant_id"] = str(TenantId(tenant))
        if interaction is not None:
            claims["interaction_id"] = str(InteractionId(interaction))
    except InvalidIdentifier as error:
        raise click.ClickException(str(error)) from None
    return claims


def _read_private_key(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    except TypeError:
        raise click.ClickException(
            f"{path}: the key has a pass phrase; needed: one without"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise click.ClickException(f"{path}: no PEM private key") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS:
        raise click.ClickException(f"{path}: needed: an RSA key of at least {KEY_BITS} bits")
    return key


def _write_pair(directory: Path) -> None:
    private_path, public_path = directory / "private.pem", directory / "public.pem"
    private_key, public_pem = new_pair()
    private_pem = private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ).decode()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_new(private_path, private_pem, 0o600)
        _write_new(public_path, public_pem, 0o644)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    click.echo(f"wrote {private_path} (keep it to yourself) and {public_path}", err=True)
    click.echo(f"the service takes it with JWT_PUBLIC_KEY_FILE={public_path}", err=True)


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that must not exist yet, readable as `mode` from its first byte."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
