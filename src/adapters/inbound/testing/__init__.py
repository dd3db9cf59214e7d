"""What every dialect must do, as tests to inherit: fill in a dialect, and who writes it.

Nothing of the service imports this package. It is the part of the kit of `application.testing` for
dialects, and stands here since `Dialect` does: the application does not know what a dialect is.
"""

import pytest

pytest.register_assert_rewrite(
    "adapters.inbound.testing.decoding", "adapters.inbound.testing.dialect_contract"
)

from adapters.inbound.testing.carrier import Carrier  # noqa: E402
from adapters.inbound.testing.dialect_contract import DialectContract  # noqa: E402

__all__ = ["Carrier", "DialectContract"]
