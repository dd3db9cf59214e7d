from hypothesis import assume, given
from hypothesis import strategies as st

from entrypoints.configuration import known_names
from entrypoints.misspelt import NAMES_OF_OTHERS, distance, find_misspelt
from entrypoints.registry import destination_adapters

KNOWN = known_names(destination_adapters()["redis_streams"])
LONG = sorted(name for name in KNOWN if len(name) >= 8)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"


@st.composite
def slips(draw: st.DrawFn) -> tuple[str, str]:
    """One of our names, and the same with one or two slips, apart, after the first letter."""
    meant = name = draw(st.sampled_from(LONG))
    half = len(name) // 2
    places = [draw(st.integers(half + 1, len(name) - 2)), draw(st.integers(1, half - 2))]
    for at in places[: draw(st.integers(1, 2))]:
        letter = draw(st.sampled_from(LETTERS))
        name = draw(
            st.sampled_from(
                [
                    name[:at] + name[at + 1 :],
                    name[:at] + letter + name[at:],
                    name[:at] + letter + name[at + 1 :],
                    name[:at] + name[at + 1] + name[at] + name[at + 2 :],
                ]
            )
        )
    return meant, name


@given(slips(), st.booleans())
def test_every_slip_of_one_or_two_letters_is_found(slip: tuple[str, str], of_file: bool) -> None:
    suffix = "_FILE" if of_file else ""
    meant, name = (f"{part}{suffix}" for part in slip)
    assume(slip[1] not in KNOWN | NAMES_OF_OTHERS)
    (found,) = find_misspelt([name], KNOWN).values()
    assert found.endswith(suffix)
    assert distance(name, found) <= distance(name, meant) <= 2


@given(st.text(LETTERS, min_size=1, max_size=12))
def test_a_name_that_has_little_to_do_with_ours_gives_no_alarm(name: str) -> None:
    """Six letters that none of ours begins with are more than two slips."""
    assert not find_misspelt([f"QXQXQX{name}"], KNOWN)
