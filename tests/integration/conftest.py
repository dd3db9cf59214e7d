"""What the tests over real sockets share."""

from collections.abc import AsyncIterator

import pytest
from running import Caller


@pytest.fixture(autouse=True)
async def no_caller_is_left() -> AsyncIterator[None]:
    yield
    await Caller.hang_up_all()
