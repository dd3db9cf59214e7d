import re
from pathlib import Path

import pytest

from adapters.inbound.close_codes import CloseCode, CloseReason
from adapters.inbound.log_limiter import MAX_KINDS
from adapters.inbound.refusals import Outcome, Refusal

DOCUMENT = Path(__file__, "../../../docs/connecting.md").resolve().read_text()
ROWS = [line for line in DOCUMENT.splitlines() if re.match(r"\| [0-9]{3,4} \|", line)]


@pytest.mark.parametrize("outcome", [it for it in Outcome if it is not Outcome.ACCEPTED])
def test_every_refusal_is_documented_with_its_status(outcome: Outcome) -> None:
    status = Refusal(outcome, "").status
    assert any(row.startswith(f"| {status} | `{outcome.value}` |") for row in ROWS)


@pytest.mark.parametrize("reason", CloseReason)
def test_every_close_is_documented(reason: CloseReason) -> None:
    assert any(f"`{reason.value}`" in row.split("|")[2] for row in ROWS)


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_documented(code: CloseCode) -> None:
    assert any(row.startswith(f"| {code.value} |") for row in ROWS)


def test_no_kind_of_line_shares_one_with_another() -> None:
    assert len(Outcome) + 2 * len(CloseReason) < MAX_KINDS
