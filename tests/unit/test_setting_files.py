"""Variables that are read from a file."""

from pathlib import Path

import pytest
from settings_read import KEY, KNOWN, MINIMAL, PUBLIC_PEM, mistakes, read

from entrypoints.environment import read_environment


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    key, password, url = tmp_path / "key.pem", tmp_path / "password", tmp_path / "url"
    key.write_text(PUBLIC_PEM)
    password.write_text("s3cret\n")
    url.write_text("redis://localhost\n")
    settings = read(
        PUBSUB_ADAPTER="redis_streams",
        REDIS_URL_FILE=str(url),
        SUPPORT_EXOTEL="true",
        EXOTEL_USERNAME="exotel",
        EXOTEL_PASSWORD_FILE=str(password),
        JWT_PUBLIC_KEY_FILE=str(key),
    )
    assert settings.access_policy.pairs == (b"exotel:s3cret",)
    assert settings.access.jwt_public_key is not None
    (read_key,) = settings.access.jwt_public_key
    assert read_key.public_numbers() == KEY.public_key().public_numbers()
    assert settings.texts["REDIS_URL"] == "redis://localhost"


def test_any_variable_can_be_read_from_a_file(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.write_text(" 9090 \n")
    assert read(**MINIMAL, PORT_FILE=str(port)).listening.port == 9090
    port.write_text("http")
    assert mistakes({**MINIMAL, "PORT_FILE": str(port)})[0] == ["PORT"]


@pytest.mark.parametrize("name", [*sorted(KNOWN), "PUBSUB_ADAPTER", "REDIS_URL"])
@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_a_wrong_value_of_every_variable(
    name: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "value"
    file.write_bytes(content)
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": "redis://localhost",
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "u",
        "EXOTEL_PASSWORD": "p",
    }
    environment.pop(name, None)
    variables, message = mistakes({**environment, f"{name}_FILE": str(file)})
    assert variables == [f"{name}_FILE"]
    assert "found an empty file" in message


@pytest.mark.parametrize("path", ["", " "])
def test_a_file_that_is_not_named_is_a_wrong_value(path: str) -> None:
    variables, message = mistakes({**MINIMAL, "EXOTEL_ALLOWED_IPS_FILE": path})
    assert variables == ["EXOTEL_ALLOWED_IPS_FILE"]
    assert "found nothing" in message


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfs3cret\r\n", b"s3cret\r\n\r\n", b" \xef\xbb\xbf s3cret", b"s3cret"]
)
def test_a_byte_order_mark_and_line_ends_are_no_part_of_a_value(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    pairs = (b"u:s3cret",)
    from_file = read(**MINIMAL, EXOTEL_USERNAME="u", EXOTEL_PASSWORD_FILE=str(file))
    assert from_file.access_policy.pairs == pairs
    from_text = read(**MINIMAL, EXOTEL_USERNAME="u", EXOTEL_PASSWORD=content.decode())
    assert from_text.access_policy.pairs == pairs
    assert from_file.remarks == from_text.remarks == ()


@pytest.mark.parametrize("content", [b"a\0b", "s3cret".encode("utf-16"), b"x" * 65_537, b"\xff"])
def test_a_file_that_no_variable_could_hold_is_a_wrong_value(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "issuer"
    file.write_bytes(content)
    assert mistakes({**MINIMAL, "JWT_ISSUER_FILE": str(file)})[0] == ["JWT_ISSUER_FILE"]


def test_a_file_is_not_repeated_in_a_complaint_and_may_have_no_end() -> None:
    """A secret may be where its file should be named."""
    assert "hunter2" not in mistakes({**MINIMAL, "JWT_ISSUER_FILE": "hunter2"})[1]
    assert "hunter2" not in mistakes({**MINIMAL, "JWT_ISSUER_FILE": "hunter2\0"})[1]
    assert "65536" in mistakes({**MINIMAL, "JWT_ISSUER_FILE": "/dev/zero"})[1]


def test_a_name_that_an_adapter_declares_is_no_file_of_another(tmp_path: Path) -> None:
    path = str(tmp_path / "absent")
    names = {"CREDENTIALS", "CREDENTIALS_FILE"}
    environment = read_environment({"CREDENTIALS_FILE": path}, names)
    assert environment.texts == {"CREDENTIALS_FILE": path}
    assert not environment.problems


def test_a_variable_and_its_file_contradict_each_other(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from-file")
    variables, message = mistakes(
        {
            **MINIMAL,
            "EXOTEL_USERNAME": "exotel",
            "EXOTEL_PASSWORD": "from-variable",
            "EXOTEL_PASSWORD_FILE": str(file),
        }
    )
    assert variables == ["EXOTEL_PASSWORD_FILE"]
    assert "both" in message
    assert "from-" not in message


def test_an_empty_variable_does_not_contradict_its_file(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("9090")
    assert read(**MINIMAL, PORT="", PORT_FILE=str(file)).listening.port == 9090


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x80")
    for path in (tmp_path / "absent", tmp_path, binary):
        variables, message = mistakes({**MINIMAL, "JWT_AUDIENCE_FILE": str(path)})
        assert variables == ["JWT_AUDIENCE_FILE"]
        assert "can be read" in message
