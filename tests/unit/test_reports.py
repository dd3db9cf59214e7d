import re
from pathlib import Path

import pytest
from counting_telemetry import CountingTelemetry

from adapters.inbound.reporting.log_limiter import MAX_KINDS
from adapters.inbound.reporting.refusals import Outcome, Refusal
from adapters.inbound.reporting.reports import Reports
from application.call.closing import CLOSES, CloseCode, CloseReason

DOCUMENT = Path(__file__, "../../../docs/connecting.md").resolve().read_text()
ROWS = [line for line in DOCUMENT.splitlines() if re.match(r"\| [0-9]{3,4} \|", line)]


@pytest.mark.parametrize("outcome", [it for it in Outcome if it is not Outcome.ACCEPTED])
def test_every_refusal_is_documented_with_its_status(outcome: Outcome) -> None:
    status = Refusal(outcome, "").status
    assert any(row.startswith(f"| {status} | `{outcome.value}` |") for row in ROWS)


def test_the_closes_are_documented_with_their_codes() -> None:
    documented = {
        (int(code), reason)
        for code, reasons in (row.strip("| ").split("|")[:2] for row in ROWS)
        if int(code) >= CloseCode.ENDED
        for reason in re.findall("`([^`]+)`", reasons)
    }
    assert documented == {(code, reason) for reason, codes in CLOSES.items() for code in codes}


def test_every_cause_of_a_close_has_a_code_and_every_code_a_cause() -> None:
    assert set(CLOSES) == set(CloseReason)
    assert {code for codes in CLOSES.values() for code in codes} == set(CloseCode)


def test_no_kind_of_line_shares_one_with_another() -> None:
    assert len(Outcome) + 2 * len(CloseReason) < MAX_KINDS


async def test_a_request_that_is_no_handshake_is_counted_as_that() -> None:
    telemetry = CountingTelemetry()
    reports = Reports(telemetry, trusted_proxy_hops=0)
    refusal, origin = Refusal(Outcome.WRONG_PATH, ""), reports.origin("127.0.0.1", [])
    reports.refused(refusal, origin)
    reports.refused(refusal, origin, is_handshake=False)
    reports.close()
    assert telemetry.handshakes == {"wrong_path": 2}
    assert telemetry.other_requests == {"wrong_path": 1}


async def test_a_flood_of_one_cause_hides_no_other_of_the_same_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports = Reports(CountingTelemetry(), trusted_proxy_hops=0)
    origin = reports.origin("127.0.0.1", [])
    for seconds in range(50):
        reports.refused(Refusal(Outcome.UNAUTHENTICATED, "no credential is shown"), origin)
        reports.refused(Refusal(Outcome.UNAUTHENTICATED, f"expired {seconds} s ago"), origin)
    reports.refused(Refusal(Outcome.UNAUTHENTICATED, "wrong password"), origin)
    written = [vars(record)["explanation"] for record in caplog.records]
    assert written == ["no credential is shown", "expired 0 s ago", "wrong password"]
    reports.close()
    counts = [(vars(it)["explanation"], vars(it)["count"]) for it in caplog.records[3:]]
    assert counts == [("no credential is shown", 49), ("expired 49 s ago", 49)]
