"""What `NATS_URL` and `NATS_CREDENTIALS_FILE` may say, and what is told of what they may not."""

from pathlib import Path

import pytest
from nats_identities import Nkey, credentials_file

from adapters.outbound.nats_jetstream.address import Address, complaint, shown
from adapters.outbound.nats_jetstream.credentials import Credentials
from adapters.outbound.nats_jetstream.destination import NatsJetStream
from entrypoints.configuration import read_settings
from entrypoints.registry import destination_adapters


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("nats://h", [("h", 4222)]),
        ("nats://h:1,nats://g:2", [("h", 1), ("g", 2)]),
        ("tls://u:p@h:1,g:2?ssl_cert_reqs=none", [("h", 1), ("g", 2)]),
        ("nats://[::1]:5, 10.0.0.1", [("::1", 5), ("10.0.0.1", 4222)]),
    ],
)
def test_servers_are_listed_by_comma(url: str, servers: list[tuple[str, int]]) -> None:
    assert complaint(url) is None
    address = Address.of(url)
    assert [(it.host, it.port) for it in address.servers] == servers
    assert address.must_have_tls == url.startswith("tls")


def test_a_user_without_a_password_is_a_token() -> None:
    login = Address.of("nats://a%2Cb@h,g").login
    assert (login.token, login.user) == ("a,b", None)
    login = Address.of("nats://u:p%40@h,u:p%40@g").login
    assert (login.user, login.password, login.token) == ("u", "p@", None)
    assert Address.of("nats://h").login.is_empty


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://h", "another scheme"),
        ("h:4222", "another scheme"),
        ("nats://", "no host or port"),
        ("nats://h:0", "no host or port"),
        ("nats://h,,g", "no host or port"),
        ("nats://h:99999", "an address that cannot be read"),
        ("nats://h,tls://g", "different schemes"),
        ("nats://u:p@h,u:q@g", "different logins"),
        ("nats://h,u:p@g", "different logins"),
        ("nats://h/x", "a path"),
        ("nats://u:p#q@h", "percent-encoded"),
        ("nats://:p@h", "a password without a user name"),
        ("tls://h?ssl_ca_cert=/x", "options other than"),
        ("tls://h?ssl_ca_certs=/nowhere/at/all", "certificates that cannot be read"),
        ("nats://h?ssl_cert_reqs=none", "options of TLS without tls://"),
        ("tls://h?ssl_cert_reqs=no", "ssl_cert_reqs other than"),
        ("tls://h?ssl_keyfile=/x", "ssl_keyfile without"),
    ],
)
def test_what_is_wrong_is_told_without_what_is_secret(url: str, told: str) -> None:
    found = complaint(url)
    assert found is not None
    assert told in found
    (problem,) = NatsJetStream().problems({"NATS_URL": url})
    assert problem.variable == "NATS_URL"


def test_a_url_is_shown_without_its_login() -> None:
    url = "tls://hidden:hidden@h:1,hidden@g?ssl_ca_certs=/ca.pem"
    assert shown(url) == "tls://***@h:1,***@g?ssl_ca_certs=/ca.pem"
    told = NatsJetStream().describe({"NATS_URL": url, "NATS_CREDENTIALS": "hidden"})
    assert "hidden" not in str(told)
    assert "hidden" not in repr(Address.of("nats://u:hidden@h"))


def test_credentials_are_read_as_nsc_writes_them() -> None:
    key = Nkey("U")
    for text in (
        credentials_file("a.b.c", key.seed),
        credentials_file("a.b.c", key.seed).replace("\n", "\r\n"),
    ):
        credentials = Credentials.read(text)
        assert credentials.jwt == "a.b.c"
        assert credentials.public_nkey == key.public
    assert Credentials.read(key.seed).jwt is None
    assert key.seed not in repr(credentials)


USER = Nkey("U").seed

WRONG = {
    "nothing": ("", "no seed"),
    "too short": ("SUABC", "no seed"),
    "of an account": (Nkey("A").seed, "no seed"),
    "mistyped": (USER[:-2] + ("AA" if USER[-2:] != "AA" else "BB"), "check sum"),
    "cut off": ("-----BEGIN NATS USER JWT-----\n" + USER, "a JWT that is cut off"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_credentials_is_told(text: str, told: str) -> None:
    (problem,) = NatsJetStream().problems({"NATS_URL": "nats://h", "NATS_CREDENTIALS": text})
    assert told in problem.found
    assert "SU" not in problem.found.replace("(SU…)", "")


def test_a_login_is_in_one_place() -> None:
    environment = {"NATS_URL": "nats://u:p@h", "NATS_CREDENTIALS": Nkey("U").seed}
    (problem,) = NatsJetStream().problems(environment)
    assert problem.variable == "NATS_CREDENTIALS"
    assert "login in NATS_URL" in problem.found


def test_the_credentials_file_is_a_file_like_any_other(tmp_path: Path) -> None:
    path, key = tmp_path / "user.creds", Nkey("U")
    path.write_text(credentials_file("a.b.c", key.seed))
    settings = read_settings(
        destination_adapters(),
        {
            "PUBSUB_ADAPTER": "nats_jetstream",
            "NATS_URL": "nats://h",
            "NATS_CREDENTIALS_FILE": str(path),
            "SUPPORT_EXOTEL": "true",
        },
    )
    assert settings.describe()["NATS_CREDENTIALS"] == "***"
    assert key.seed not in repr(settings)
