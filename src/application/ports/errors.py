"""Errors of technologies; adapters translate them and keep the cause.

PublisherError
├── BrokerUnavailable    not reached, timed out, or refusing for now: transient
└── BrokerRefused        refusing until an operator changes something
    └── Unreadable       stored data cannot be read
InvalidToken             a token that does not verify
"""


class PublisherError(Exception):
    """Base class of the errors of a destination."""


class BrokerUnavailable(PublisherError):
    """The destination was not reached or cannot take writes now; whether it wrote is unknown."""


class BrokerRefused(PublisherError):
    """The destination will not take this write until its configuration or data is corrected."""


class Unreadable(BrokerRefused):
    """Stored data is damaged, foreign, or of another version than this release writes."""


class InvalidToken(Exception):
    """A bearer token does not verify. The message is safe to log: it holds nothing of the token."""
