"""Two forms of answers, short ones for a tiny model inside of transformers' generate()."""

from __future__ import annotations

from typing import Any

__all__ = ["OTHER", "SCHEMA"]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["north", "south", "nowhere"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "name": {"type": "string", "maxLength": 5},
    },
    "required": ["kind", "count", "name"],
    "additionalProperties": False,
}
OTHER: dict[str, Any] = {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}
