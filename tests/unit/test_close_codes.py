import pytest

from adapters.inbound.close_codes import CloseCode, Closing


@pytest.mark.parametrize("reason", ["", "call ended", "x" * 123, "é" * 61, "€" * 41, "😀" * 30])
def test_a_reason_that_fits_is_not_changed(reason: str) -> None:
    assert Closing(CloseCode.ENDED, reason).short_reason == reason


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_long_reason_is_cut_at_123_bytes_between_characters(letter: str, before: int) -> None:
    reason = "-" * before + letter * 200
    short = Closing(CloseCode.POLICY, reason).short_reason
    assert reason.startswith(short)
    assert 123 - len(letter.encode()) < len(short.encode()) <= 123


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ENDED", 1000), ("FIRST_MESSAGE_NOT_JSON", 1007), ("POLICY", 1008), ("BUG", 1011),
        ("NOT_CONFIRMED", 1013), ("BAD_START", 4400), ("NOT_ALLOWED", 4403), ("TIMED_OUT", 4408),
        ("SUPERSEDED", 4409),
    ],
)  # fmt: skip
def test_the_codes_are_those_of_the_contract(name: str, code: int) -> None:
    assert CloseCode[name] == code
