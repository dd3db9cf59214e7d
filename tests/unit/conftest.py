"""What every unit test starts with."""

import pytest


@pytest.fixture(autouse=True)
def log_levels(caplog: pytest.LogCaptureFixture) -> None:
    """Log as without a service, whatever a service in this process has set before."""
    caplog.set_level("WARNING")
