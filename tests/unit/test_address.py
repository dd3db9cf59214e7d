"""What `REDIS_URL` says, and what is wrong with one."""

import ssl
from urllib.parse import quote

import pytest

from adapters.outbound.redis_streams.address import Address, complaint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", ("localhost", 6379, None, None, None, 0)),
        ("redis://broker", ("broker", 6379, None, None, None, 0)),
        ("redis://broker:7000/", ("broker", 7000, None, None, None, 0)),
        ("redis://[::1]:7000/4", ("::1", 7000, None, None, None, 4)),
        ("redis://broker/4", ("broker", 6379, None, None, None, 4)),
        ("redis://broker?db=5", ("broker", 6379, None, None, None, 5)),
        ("redis://broker/4?db=5", ("broker", 6379, None, None, None, 5)),
        ("redis://broker/4?db=0", ("broker", 6379, None, None, None, 0)),
        ("redis://:secret@broker", ("broker", 6379, None, None, "secret", 0)),
        ("redis://me:secret@broker", ("broker", 6379, None, "me", "secret", 0)),
        ("redis://m%40e:p%40%2F%3A%C3%B6@b", ("b", 6379, None, "m@e", "p@/:ö", 0)),
        ("unix:///run/v.sock", ("localhost", 6379, "/run/v.sock", None, None, 0)),
        ("unix:///run/v%20w.sock?db=3", ("localhost", 6379, "/run/v w.sock", None, None, 3)),
        ("unix://me:secret@/run/v.sock", ("localhost", 6379, "/run/v.sock", "me", "secret", 0)),
    ],
)
def test_a_url_says_where_the_broker_is_and_how_to_come_in(
    url: str, expected: tuple[object, ...]
) -> None:
    it = Address.of(url)
    assert (it.host, it.port, it.path, it.username, it.password, it.database) == expected
    assert it.tls is None


@pytest.mark.parametrize(
    ("options", "mode", "checks_host"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=required", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=optional", ssl.CERT_OPTIONAL, True),
    ],
)
def test_rediss_verifies_the_broker_unless_told_otherwise(
    options: str, mode: ssl.VerifyMode, checks_host: bool
) -> None:
    tls = Address.of("rediss://broker" + options).tls
    assert tls is not None
    assert (tls.load().verify_mode, tls.load().check_hostname) == (mode, checks_host)


def test_the_password_is_not_shown() -> None:
    secret = "p@ss:wörd"
    assert secret not in repr(Address.of(f"redis://:{quote(secret, safe='')}@broker"))


SPECIFIC = {
    "http://broker": "scheme",
    "redis://:12/3@broker": "percent-encoded",
    "redis://:6379": "host",
    "redis://broker:0": "port",
    "unix://": "path",
    "unix:///?db=1": "path",
    "redis://broker/name": "database",
    "redis://broker/-1": "database",
    "redis://broker?db=x": "database",
    "unix:///run/v.sock?db=-2": "database",
    "redis://broker?socket_timeout=1": "options other than",
    "redis://broker?db=1&db=2": "twice",
    "rediss://broker?ssl_cert_reqs=none&ssl_cert_reqs=required": "twice",
    "rediss://broker?ssl_cert_reqs=": "without a value",
    "redis://broker?ssl_cert_reqs=required": "TLS",
    "unix:///run/v.sock?ssl_ca_certs=/x": "TLS",
    "rediss://broker?ssl_cert_reqs=requierd": "ssl_cert_reqs",
    "rediss://broker?ssl_cert_reqs=CERT_REQUIRED": "ssl_cert_reqs",
    "rediss://broker?ssl_cert_reqs=Required": "ssl_cert_reqs",
    "rediss://broker?ssl_cert_reqs=true": "ssl_cert_reqs",
    "rediss://broker?ssl_keyfile=/x": "ssl_certfile",
    "rediss://broker?ssl_ca_certs=/nowhere": "certificates",
    "rediss://broker?ssl_certfile=/nowhere": "certificates",
    f"rediss://broker?ssl_ca_certs={__file__}": "certificates",
    "redis://broker/4?db=5": "twice",
    "redis://broker/99999999999999": "database",
    "redis://broker/\uff12": "database",
    "redis://broker/1#2": "percent-encoded",
    "redis://broker..internal": "cannot be read",
    f"redis://{'x' * 64}.internal": "cannot be read",
    "redis://:p%ff@broker": "cannot be read",
    "unix://run/v.sock": "path",
    "redis://broker:port": "cannot be read",
    "redis://[::1": "cannot be read",
}


@pytest.mark.parametrize("url", SPECIFIC)
def test_what_is_wrong_with_a_url_is_told(url: str) -> None:
    assert SPECIFIC[url] in (complaint(url) or "")


@pytest.mark.parametrize("character", "#?/[]")
@pytest.mark.parametrize("where", ["{}", "a{}b", "1{}2", "{}[::1]", "a{}b@c"])
@pytest.mark.parametrize(
    "url", ["redis://:{}@broker:6379/0", "redis://me:{}@broker", "redis://{}:p@broker",
            "rediss://:{}@broker/0?ssl_cert_reqs=none", "unix://:{}@/run/v.sock"],
)  # fmt: skip
def test_a_special_character_of_a_login_is_told_wherever_it_is(
    url: str, where: str, character: str
) -> None:
    login = where.format(character)
    explanation = complaint(url.format(login))
    assert explanation is not None
    assert "percent-encoded" in explanation
    assert quote(character, safe="") in explanation
    assert complaint(url.format(quote(login, safe=""))) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://broker",
        "redis://me:secret@broker:7000/3",
        "unix:///run/v.sock?db=3",
        "rediss://broker?ssl_cert_reqs=none",
        "rediss://broker/1?ssl_cert_reqs=required",
    ],
)
def test_with_a_right_url_nothing_is_wrong(url: str) -> None:
    assert complaint(url) is None
