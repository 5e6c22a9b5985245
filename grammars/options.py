"""The text policy: which of the many texts of one JSON value are in the language.

| option           | values                               | default    | meaning |
|------------------|--------------------------------------|------------|---------|
| draft            | None, a dialect URI, "2020-12", ...  | None       | the dialect of a schema without `$schema` (None: 2020-12) |
| registry         | None, referencing.Registry           | None       | documents that references may lead to |
| property_order   | "schema", "any"                      | "schema"   | the order of an object's members |
| whitespace       | "flexible", "single", "compact"      | "flexible" | flexible: up to `max_whitespace` characters wherever JSON has white space; single: at most one space after `,` and `:`; compact: none |
| max_whitespace   | int                                  | 32         | the longest run of white space under "flexible" |
| separators       | None, (item, key)                    | None       | exact separators, as json.dumps takes them (overrides whitespace) |
| indent           | None, int                            | None       | exact indentation, as json.dumps takes it |
| ensure_ascii     | bool                                 | False      | write non-ASCII characters as `\\uXXXX` |
| escapes          | "canonical", "any"                   | "canonical"| canonical: the spelling json.dumps chooses; any: every legal one |
| numbers          | "canonical", "any"                   | "canonical"| canonical: what json.dumps writes of an int or a float |
| format           | "assert", "annotate"                 | "assert"   | whether `format` is enforced |
| on_unsupported   | "error", "warn"                      | "error"    | refuse a schema that cannot be enforced, or list what was left out in `warnings` |

The order of members with `property_order="schema"`: the keys that the schema itself names, `properties` before
`required`, then those of `allOf`, of `$ref` and of the branches of `anyOf` and `oneOf`, each where it first appears; then
all other keys, in any order. (A branch that no object satisfies names no keys, and an `anyOf` with a branch that every
object satisfies names none.) With "any" a member may come anywhere; a named key comes at most once either way.

Numbers under "canonical": integers of any length; decimals with any number of digits after the point (`5.50` too); and
exponents where Python's repr writes them (`1e-05`, `1e+16` and beyond). `5.0` is an integer from draft 6 on.

Not built yet: `indent`, and `numbers="any"` beside a constraint on numbers. Both raise UnsupportedError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from maskwright.grammars.errors import UnsupportedError

__all__ = ["SchemaOptions"]

_CHOICES: dict[str, tuple[Any, ...]] = {
    "property_order": ("schema", "any"),
    "whitespace": ("flexible", "single", "compact"),
    "escapes": ("canonical", "any"),
    "numbers": ("canonical", "any"),
    "format": ("assert", "annotate"),
    "on_unsupported": ("error", "warn"),
}


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """Options of `compile_json_schema`; the module's docstring is their table."""

    draft: str | None = None
    registry: Any = None
    property_order: Literal["schema", "any"] = "schema"
    whitespace: Literal["flexible", "single", "compact"] = "flexible"
    max_whitespace: int = 32
    separators: tuple[str, str] | None = None
    indent: int | None = None
    ensure_ascii: bool = False
    escapes: Literal["canonical", "any"] = "canonical"
    numbers: Literal["canonical", "any"] = "canonical"
    format: Literal["assert", "annotate"] = "assert"
    on_unsupported: Literal["error", "warn"] = "error"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(map(repr, allowed))}")
        if not 0 <= self.max_whitespace <= 1024:
            raise ValueError(f"max_whitespace={self.max_whitespace}: choose 0 to 1024")
        for name in ("indent",):
            if getattr(self, name) is not None:
                raise UnsupportedError(f"the option {name}= is not built yet", keyword=name)
