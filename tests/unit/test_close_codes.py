import pytest

from application.call.closing import CloseCode, CloseReason, Closing


@pytest.mark.parametrize("text", ["", "call ended", "x" * 123, "é" * 61, "€" * 41, "😀" * 30])
def test_an_explanation_that_fits_is_not_changed(text: str) -> None:
    assert Closing(CloseCode.ENDED, CloseReason.ENDED, text).short_explanation == text


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_long_explanation_is_cut_at_123_bytes_between_characters(
    letter: str, before: int
) -> None:
    text = "-" * before + letter * 200
    short = Closing(CloseCode.POLICY, CloseReason.IDLE, text).short_explanation
    assert text.startswith(short)
    assert 123 - len(letter.encode()) < len(short.encode()) <= 123


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ENDED", 1000), ("PROTOCOL_ERROR", 1002), ("INVALID_DATA", 1007), ("POLICY", 1008),
        ("TOO_BIG", 1009), ("BUG", 1011), ("RESTART", 1012), ("NOT_CONFIRMED", 1013),
        ("BAD_START", 4400), ("NOT_ALLOWED", 4403), ("TIMED_OUT", 4408), ("SUPERSEDED", 4409),
    ],
)  # fmt: skip
def test_the_codes_are_those_of_the_contract(name: str, code: int) -> None:
    assert CloseCode[name] == code
