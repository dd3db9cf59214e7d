"""The bodies of docs/operating.md are what the health routes answer, to the byte."""

import re
from pathlib import Path

import msgspec
import pytest

from adapters.inbound.http.routes import Health, Liveness, Readiness

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
BODIES = re.findall(r"`(\{\"(status|ready)\":.+?\})`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("body", [body for body, _ in BODIES])
def test_a_body_of_the_page_is_one_that_a_route_answers(body: str) -> None:
    kind = Readiness if body.startswith('{"ready"') else Health if "pubsub" in body else Liveness
    assert msgspec.json.encode(msgspec.json.decode(body, type=kind, strict=True)) == body.encode()


def test_the_page_has_a_body_of_each_route() -> None:
    assert len(BODIES) == 6
