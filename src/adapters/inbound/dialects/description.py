"""The messages of a dialect for the AsyncAPI document, generated from the dialect's types."""

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from adapters.inbound.dialects.dialect import Dialect

Schema = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_NOT_OF_A_KEY = re.compile(r"[^A-Za-z0-9._-]")


class DialectMessages:
    """The messages of a sender (`sent`) and to a sender (`replied`) by name, with schemas.

    Raises:
        TypeError: msgspec cannot make a schema of one of the dialect's types.

    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.description = " ".join(dialect.description.split())
        types = (*dialect.messages, *dialect.replies)
        template = f"{_SCHEMAS}{dialect.name}.{{name}}"
        roots, parts = msgspec.json.schema_components(types, ref_template=template)
        self.schemas: Schema = {f"{dialect.name}.{it}": _as_draft_7(parts[it]) for it in parts}
        self.messages: Schema = {}
        made = [self._add(*pair) for pair in zip(types, roots, strict=True)]
        self.sent = made[: len(dialect.messages)]
        self.replied = made[len(dialect.messages) :]

    def _add(self, type_: object, root: Schema) -> str:
        """Describe a message, and return its name in the document."""
        schema = self.schemas.get(root.get("$ref", "").removeprefix(_SCHEMAS), root)
        name, key = _name(schema), _NOT_OF_A_KEY.sub("_", f"{self.dialect.name}.{_name(schema)}")
        if key in self.messages:  # as of a message that goes both ways
            key = _NOT_OF_A_KEY.sub("_", f"{key}.{schema.get('title', len(self.messages))}")
        described = {"summary": schema["description"]} if "description" in schema else {}
        if type_ is bytes or bytes in get_args(type_):
            content_type, payload = "application/octet-stream", {"type": "string"}
        else:
            content_type, payload = "application/json", _as_draft_7(root)
        self.messages[key] = {
            "name": name,
            **described,
            "contentType": content_type,
            "payload": payload,
            "tags": [{"name": self.dialect.name}],
        }
        return key


def _name(schema: Schema) -> str:
    """Name a message by the value of its first single-valued field, else by its type."""
    for field in schema.get("properties", {}).values():
        values = field.get("enum", [])
        if len(values) == 1:
            return str(values[0])
    return str(schema.get("title", "audio"))


def _as_draft_7(part: Any) -> Any:  # noqa: ANN401  # JSON
    """Convert a schema to AsyncAPI, in which a discriminator is the name of a field."""
    if isinstance(part, Mapping):
        return {
            name: it["propertyName"]
            if name == "discriminator" and isinstance(it, Mapping) and "propertyName" in it
            else _as_draft_7(it)
            for name, it in part.items()
        }
    return [_as_draft_7(it) for it in part] if isinstance(part, list) else part
