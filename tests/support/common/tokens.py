"""Random tokens that are the same in every run of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest


@contextmanager
def reproducible_tokens() -> Iterator[None]:
    """Draw the tokens of starts from one sequence: the order of two decides a tie between them."""
    choice = Random(0)  # noqa: S311  # they may be guessed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda size: choice.randbytes(size).hex())
        yield
