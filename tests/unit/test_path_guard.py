import pytest

from adapters.inbound.http.path_guard import shown_path


@pytest.mark.parametrize(
    "path", ["/", "/v1/Ingest", "/v1/ingest/", "/v1//ingest", "/health/ready", "/asyncapi.json"]
)
def test_of_a_path_the_segments_that_are_ours_are_shown(path: str) -> None:
    assert shown_path(path) == path


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/ingest?token=secret", "/v1/…"),
        ("/v1/ingest/eyJhbGciOiJSUzI1NiJ9.e30.AAAA", "/v1/ingest/…"),
        ("/v1/ingest/SECRETPASSWORD", "/v1/ingest/…"),
        ("/v1/KEY/PASS", "/v1/…/…"),
        ("/call/+911234567890", "/…/…"),
        ("/rtaa/v1/ingest", "/…/v1/ingest"),
        ("/key:password@host", "/…"),
        ("/a\nb/c\x1b[31m", "/…/…"),
        ("/" + "x" * 10_000, "/…"),
        ("/a" * 1_000, "/…" * 7),
        ("nothing", "/"),
    ],
)
def test_of_a_path_nothing_is_shown_that_may_be_a_secret(path: str, shown: str) -> None:
    assert shown_path(path) == shown
