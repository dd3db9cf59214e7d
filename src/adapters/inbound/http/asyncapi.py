"""The WebSocket and the published entries as an AsyncAPI 3.0 document.

The dialects and the store in use describe themselves; this module knows none of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.description import DialectMessages
from application.call.closing import CloseCode
from application.ports.publication import Publication, PublishedChannel, PublishedMessage

Schema = dict[str, Any]


def asyncapi_document(
    version: str, path: str, dialects: Sequence[Dialect], publication: Publication
) -> Schema:
    """Build the document for calls taken at `path` in `dialects`, and published as described."""
    codes = ", ".join(f"{code.value} {code.name.lower()}" for code in CloseCode)
    spoken = [DialectMessages(dialect) for dialect in dialects]
    ingest = {
        "address": path,
        "title": "One WebSocket for each stream",
        "description": (
            "The first message tells the dialect.\n\n"
            + "\n".join(f"- `{it.dialect.name}`: {it.description}" for it in spoken)
            + f"\n\nClosed with: {codes}."
        ),
        "messages": _references(name for it in spoken for name in (*it.sent, *it.replied)),
    }
    operations: Schema = {}
    for it in spoken:
        tags = [{"name": it.dialect.name}]
        for action, verb, messages in (("receive", "say", it.sent), ("send", "reply", it.replied)):
            if messages:
                operation = _operation(action, "ingest", messages)
                operations[f"{it.dialect.name}.{verb}"] = {**operation, "tags": tags}
    for channel in publication.channels:
        names = [message.name for message in channel.messages]
        operations[f"publish.{channel.name}"] = _operation("send", channel.name, names)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rtaa-ingest",
            "version": version,
            "description": (
                f"Live phone audio in over a WebSocket, published to {publication.technology}."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {
            "ingest": ingest,
            **{channel.name: _channel(channel) for channel in publication.channels},
        },
        "operations": operations,
        "components": {
            "messages": {
                **{name: message for it in spoken for name, message in it.messages.items()},
                **{
                    message.name: _published(message)
                    for channel in publication.channels
                    for message in channel.messages
                },
            },
            "schemas": {name: schema for it in spoken for name, schema in it.schemas.items()},
        },
    }


def _channel(channel: PublishedChannel) -> Schema:
    return {
        "address": channel.address,
        "description": channel.description,
        "messages": _references(message.name for message in channel.messages),
    }


def _published(message: PublishedMessage) -> Schema:
    described = {"description": message.description} if message.description else {}
    return {
        "name": message.name,
        **described,
        "contentType": message.content_type,
        "payload": dict(message.payload),
    }


def _references(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _operation(action: str, channel: str, messages: Iterable[str]) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }
