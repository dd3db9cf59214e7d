"""What is told of settings: warnings, who gets in, and never a secret."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from running import Keys
from settings_read import MINIMAL, PRIVATE_PEM, PUBLIC_PEM, mistakes, read

from entrypoints.access_summary import who_enters
from entrypoints.settings import REDACTED


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_value_are_warned_about(quote: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{quote}s3cret{quote}\n")
    settings = read(
        **MINIMAL,
        EXOTEL_USERNAME="u",
        EXOTEL_PASSWORD_FILE=str(file),
        EXOTEL_PASSWORD_NEXT=f"{quote}s3cret{quote}",
        EXOTEL_TENANTS="a",
        JWT_ISSUER=f"{quote}",
        JWT_PUBLIC_KEY=f"{quote}{PUBLIC_PEM}{quote}",
    )
    warnings = settings.warnings()
    assert [warning.split()[0] for warning in warnings] == [
        "EXOTEL_PASSWORD",
        "EXOTEL_PASSWORD_NEXT",
    ]
    assert "s3cret" not in str(warnings)
    _, message = mistakes(
        {
            "PUBSUB_ADAPTER": "redis_streams",
            "SUPPORT_EXOTEL": "true",
            "REDIS_URL": f"{quote}redis://:s3cret@localhost{quote}",
        }
    )
    assert "REDIS_URL begins and ends with a quote" in message
    assert "s3cret" not in message


def test_a_misspelt_name_is_warned_about_with_both_names() -> None:
    environment = {**MINIMAL, "EXOTEL_ALOWED_IPS": "10.0.0.0/8", "EXOTEL_PASWORD_FILE": "/run/x"}
    warnings = read(**environment).warnings()
    assert any("EXOTEL_ALOWED_IPS" in w and "EXOTEL_ALLOWED_IPS" in w for w in warnings)
    assert any("EXOTEL_PASWORD_FILE" in w and "EXOTEL_PASSWORD_FILE" in w for w in warnings)
    _, message = mistakes({"PUBSUB_ADAPTER": "in_memory", "JWT_PUBLC_KEY": PUBLIC_PEM})
    assert "JWT_PUBLC_KEY" in message
    assert "MII" not in message


@pytest.mark.parametrize(
    "name", ["EXOTEL_USERNAME", "EXOTEL_ALLOWED_IPS", "EXOTEL_TENANTS", "JWT_ISSUER"]
)
def test_what_keeps_senders_out_and_is_set_to_nothing_is_warned_about(name: str) -> None:
    assert any(
        w.startswith(f"{name} is set to nothing") for w in read(**MINIMAL, **{name: " "}).remarks
    )
    assert not read(**MINIMAL).remarks


def test_no_secret_is_repeated_in_a_complaint(tmp_path: Path) -> None:
    secret = "hunter2-" * 20
    file = tmp_path / "key"
    file.write_text(secret)
    for name in ("JWT_PUBLIC_KEY", "EXOTEL_PASSWORD", "EXOTEL_PASSWORD_NEXT"):
        assert "hunter2" not in mistakes({**MINIMAL, "PORT": "x", name: secret})[1]
    assert "hunter2" not in mistakes({**MINIMAL, "JWT_PUBLIC_KEY_FILE": str(file)})[1]
    redis = {"PUBSUB_ADAPTER": "redis_streams", "SUPPORT_EXOTEL": "true"}
    for url in (
        "hunter2:x@host",
        "redis://:1/hunter2@host",
        "http://u:hunter2@host",
        "redis://u:hunter2@host:port",
        "redis://u:hunter2@[host",
    ):
        assert "hunter2" not in mistakes({**redis, "REDIS_URL": url})[1]
    assert "MII" not in mistakes({**MINIMAL, "JWT_PUBLIC_KEY": PRIVATE_PEM})[1]


def test_a_long_wrong_value_is_shown_only_in_part() -> None:
    assert len(mistakes({**MINIMAL, "PORT": "9" * 100_000})[1]) < 300


def test_what_is_shown_of_a_configuration_holds_no_secret() -> None:
    settings = read(
        PUBSUB_ADAPTER="redis_streams",
        REDIS_URL="rediss://user:hunter2@broker:6379/1?ssl_cert_reqs=none",
        SUPPORT_EXOTEL="true",
        EXOTEL_USERNAME="exotel",
        EXOTEL_PASSWORD="hunter2",
        EXOTEL_PASSWORD_NEXT="hunter2",
        JWT_PUBLIC_KEY=PUBLIC_PEM,
        PORT="9090",
    )
    shown = settings.describe()
    assert "hunter2" not in str(shown)
    assert "PUBLIC KEY" not in str(shown)
    assert shown["EXOTEL_PASSWORD"] == shown["JWT_PUBLIC_KEY"] == REDACTED
    assert shown["EXOTEL_PASSWORD_NEXT"] == REDACTED
    assert shown["REDIS_URL"] == "rediss://***@broker:6379/1?ssl_cert_reqs=none"
    assert shown["PORT"] == "9090"
    assert shown["PUBSUB_ADAPTER"] == "redis_streams"
    assert shown["EXOTEL_USERNAME"] == "exotel"
    assert shown["MAX_STREAMS"] == "2000"
    assert "EXOTEL_ALLOWED_IPS" not in shown


@pytest.mark.parametrize(
    ("environment", "perimeter", "tenants"),
    [
        ({}, True, False),
        ({"EXOTEL_USERNAME": "u", "EXOTEL_PASSWORD": "p"}, False, False),
        ({"EXOTEL_ALLOWED_IPS": "10.0.0.0/8"}, False, False),
        ({"EXOTEL_TENANTS": "a"}, True, False),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM}, True, True),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM, "EXOTEL_TENANTS": "a"}, True, False),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM, "EXOTEL_ALLOWED_IPS": "10.0.0.0/8"}, False, True),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM, "SUPPORT_EXOTEL": "false"}, False, False),
    ],
)
def test_an_operator_is_warned_of_who_gets_in(
    environment: dict[str, str], perimeter: bool, tenants: bool
) -> None:
    warnings = read(**{**MINIMAL, **environment}).warnings()
    assert any("perimeter" in warning for warning in warnings) == perimeter
    assert any("EXOTEL_TENANTS:" in warning for warning in warnings) == tenants
    assert len(warnings) == perimeter + tenants


def test_who_enters_with_a_token_is_told_with_the_proxies_that_are_trusted(keys: Keys) -> None:
    for hops, told in (("0", "from any address"), ("2", "from any address that 2 proxies tell")):
        settings = read(**MINIMAL, JWT_PUBLIC_KEY=keys.public_pem, TRUSTED_PROXY_HOPS=hops)
        assert dict(who_enters(settings))["Authorization: Bearer"].endswith(told)


def test_no_representation_of_settings_has_a_secret_in_it() -> None:
    settings = read(
        **MINIMAL,
        EXOTEL_USERNAME="exotel",
        EXOTEL_PASSWORD="hunter2",
        EXOTEL_PASSWORD_NEXT="hunter2",
        JWT_PUBLIC_KEY=PUBLIC_PEM,
    )
    assert settings.access.exotel_password == "hunter2"
    console = Console(file=io.StringIO(), record=True, width=200)
    for shown in (settings, settings.access):
        console.print(shown)
        assert "hunter2" not in f"{shown!r} {shown!s}"
        assert "BEGIN PUBLIC" not in f"{shown!r}"
    assert "hunter2" not in console.export_text()
