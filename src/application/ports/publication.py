"""Where consumers find what a store has published, as the AsyncAPI document shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.events import Signal

KINDS = ("started", "audio", "gap", *(signal.value for signal in Signal), "ended")
"""The types of entries."""


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message as a consumer finds it: `payload` is its JSON schema, of draft 7.

    `name` is one word, and unique among all messages of a store. The payload of another content
    type than JSON is described by the schema all the same, as its `description` says.
    """

    name: str
    payload: Mapping[str, Any]
    description: str = ""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class PublishedChannel:
    """A place where messages are found, by a `name` of one word.

    `address` is a key, a subject or a topic, with parameters in braces; None if there is none to
    tell.
    """

    name: str
    address: str | None
    description: str
    messages: tuple[PublishedMessage, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """All that a store publishes; `technology` is its name for people."""

    technology: str
    channels: tuple[PublishedChannel, ...]


def undescribed(technology: str) -> Publication:
    """Describe a store that says nothing of itself: which entries a stream has, and no form."""
    entries = tuple(
        PublishedMessage(f"{kind}Entry", {}, f"An entry of the type `{kind}`.", "application/*")
        for kind in KINDS
    )
    described = f"Entries of one media stream. Their form is that of the store `{technology}`."
    return Publication(technology, (PublishedChannel("stream", None, described, entries),))
