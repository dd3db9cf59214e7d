"""Contract tests for dialects: inherit them, and implement a dialect and its carrier.

The service does not import this package. It complements `application.testing`, and is here because
`Dialect` is: the application does not know dialects.
"""

import pytest

pytest.register_assert_rewrite(
    "adapters.inbound.testing.decoding", "adapters.inbound.testing.dialect_contract"
)

from adapters.inbound.testing.carrier import Carrier  # noqa: E402
from adapters.inbound.testing.dialect_contract import DialectContract  # noqa: E402

__all__ = ["Carrier", "DialectContract"]
