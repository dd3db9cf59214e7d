"""What a technology may do to the application, translated by its adapter with the cause kept.

PublisherError
├── BrokerUnavailable    not reached, timed out, or refusing for now: may pass by itself
└── BrokerRefused        refusing for good, until it is changed
    └── Unreadable       what it has stored cannot be read
InvalidToken             a token that does not verify
"""


class PublisherError(Exception):
    """Root of what a destination may do."""


class BrokerUnavailable(PublisherError):
    """The destination was not reached or cannot take writes now; whether it wrote is unknown."""


class BrokerRefused(PublisherError):
    """The destination will not take this write until its configuration or data is mended."""


class Unreadable(BrokerRefused):
    """Stored data is not what this release writes: damaged, foreign, or of another version."""


class InvalidToken(Exception):
    """A bearer token does not verify. The message is safe to log: it holds nothing of the token."""
