"""The published entries of a store, as the AsyncAPI document shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.events import Signal

KINDS = ("started", "audio", "gap", *(signal.value for signal in Signal), "ended")
"""The types of entries."""


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message for consumers: `payload` is its JSON schema (draft 7).

    `name` is one word, unique among all messages of a store. For other content types than JSON the
    schema describes the payload too, as its `description` explains.
    """

    name: str
    payload: Mapping[str, Any]
    description: str = ""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class PublishedChannel:
    """An address with messages; its `name` is one word.

    `address` is a key, a subject or a topic, with parameters in braces; None if it is unknown.
    """

    name: str
    address: str | None
    description: str
    messages: tuple[PublishedMessage, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that a store publishes; `technology` is its display name."""

    technology: str
    channels: tuple[PublishedChannel, ...]


def undescribed(technology: str) -> Publication:
    """Describe a store without its own description: the kinds of entries, without a format."""
    entries = tuple(
        PublishedMessage(f"{kind}Entry", {}, f"An entry of the type `{kind}`.", "application/*")
        for kind in KINDS
    )
    described = f"Entries of one media stream. Their form is that of the store `{technology}`."
    return Publication(technology, (PublishedChannel("stream", None, described, entries),))
