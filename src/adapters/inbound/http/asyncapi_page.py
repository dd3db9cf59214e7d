"""The AsyncAPI document as a page to read: plain HTML without script or foreign parts."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from litestar import MediaType, Response, get
from litestar.handlers import HTTPRouteHandler

Schema = Mapping[str, Any]

MAX_DEPTH = 6
"""How deep the fields of nested objects are shown."""

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid; }
h4 { margin-bottom: 0; }
h4 + p { margin: 0; }
p { white-space: pre-line; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
tr { border-bottom: 1px solid #8884; }
code { font-size: .95em; overflow-wrap: anywhere; }
"""

_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def asyncapi_page_route(document: Schema) -> HTTPRouteHandler:
    """Build the route of the page, which is rendered once."""
    page = render(document)

    @get("/docs", sync_to_thread=False, media_type=MediaType.HTML, operation_id="AsyncApiPage")
    def asyncapi_page() -> Response[str]:
        """Show `/asyncapi.json` to people."""
        return Response(page, headers=_HEADERS)

    return asyncapi_page


def render(document: Schema) -> str:
    """Render an AsyncAPI 3.0 document: a section for each channel, a table for each message."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(info['description'])}</p>",
        "<p>As JSON: <a href=/asyncapi.json>/asyncapi.json</a></p>",
    ]
    for name, channel in document["channels"].items():
        address = channel["address"] or "no address"
        description = escape(channel.get("description", ""))
        parts.append(f"<h2>{escape(name)}: <code>{escape(address)}</code></h2><p>{description}</p>")
        for title, operation in document["operations"].items():
            if operation["channel"]["$ref"] == f"#/channels/{name}":
                verb = "receives" if operation["action"] == "receive" else "sends"
                parts.append(f"<h3>{escape(title)}: the service {verb}</h3>")
                parts += [_message(document, it) for it in operation["messages"]]
    return "\n".join(parts)


def _message(document: Schema, reference: Schema) -> str:
    message = _found(document, reference)
    payload = _found(document, message["payload"])
    told = message.get("summary") or message.get("description") or payload.get("description", "")
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{escape(note)}"
        for name, kind, note in fields_of(document, payload)
    )
    table = f"<table><tr><th>field<th>type<th>{rows}</table>" if rows else ""
    return (
        f"<h4>{escape(message['name'])}</h4><p>{escape(told)}</p>"
        f"<p>{escape(message['contentType'])}</p>{table}"
    )


def fields_of(
    document: Schema, schema: Schema, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and notes of each field of an object, including nested objects."""
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        field, is_optional = _without_null(_found(document, part))
        field = _found(document, field)
        inner = _found(document, field.get("contentSchema", field))
        notes = [] if name in required and not is_optional else ["optional"]
        notes += _notes(field)
        yield f"{prefix}{name}", _kind(document, field), ", ".join(notes)
        if depth < MAX_DEPTH:
            yield from fields_of(document, inner, f"{prefix}{name}.", depth + 1)


def _kind(document: Schema, field: Schema) -> str:
    if "contentSchema" in field:
        return "JSON text"
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return " or ".join(map(json.dumps, field["enum"]))
    if "anyOf" in field:
        return " or ".join(_kind(document, _found(document, it)) for it in field["anyOf"])
    return str(field.get("type", "bytes"))


def _notes(field: Schema) -> Iterator[str]:
    if field.get("default") is not None:
        yield f"default {json.dumps(field['default'])}"
    for key, word in (("minimum", "at least"), ("maximum", "at most"), ("pattern", "matches")):
        if key in field:
            yield f"{word} {field[key]}"
    if "description" in field:
        yield field["description"]


def _without_null(field: Schema) -> tuple[Schema, bool]:
    """Return the schema of a field if it is not null, and whether it may be null."""
    kinds = [it for it in field.get("anyOf", ()) if it != {"type": "null"}]
    if len(kinds) == len(field.get("anyOf", ())):
        return field, False
    rest = {name: it for name, it in field.items() if name != "anyOf"}
    return ({**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}), True


def _found(document: Schema, part: Schema) -> Schema:
    """Follow references within the document, such as `#/components/schemas/NAME`."""
    while "$ref" in part:
        found: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = {**{name: it for name, it in part.items() if name != "$ref"}, **found}
    return part
