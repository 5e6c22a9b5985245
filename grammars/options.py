"""The text policy: which of the many texts of one JSON value are in the language.

| option           | values                               | default    | meaning |
|------------------|--------------------------------------|------------|---------|
| dialect          | None, a dialect URI, "2020-12", ...  | None       | the dialect of a schema without `$schema` (None: 2020-12); `draft` means the same, except in `generate` |
| registry         | None, referencing.Registry           | None       | documents that references may lead to |
| property_order   | "schema", "any"                      | "schema"   | the order of an object's members |
| whitespace       | "flexible", "single", "compact"      | "flexible" | flexible: up to `max_whitespace` characters wherever JSON has white space; single: at most one space after `,` and `:`; compact: none |
| max_whitespace   | int                                  | 32         | the longest run of white space under "flexible" |
| separators       | None, (item, key)                    | None       | exact separators, as json.dumps takes them (overrides whitespace) |
| indent           | None, int                            | None       | a line for each item and member, indented as json.dumps does it; no other white space but that of `separators`, which are `","` and `": "` unless given |
| ensure_ascii     | bool                                 | False      | write non-ASCII characters as `\\uXXXX` |
| escapes          | "canonical", "any"                   | "canonical"| canonical: the spelling json.dumps chooses; any: every legal one |
| numbers          | "canonical", "any"                   | "canonical"| canonical: what json.dumps writes of an int or a float |
| format           | "assert", "annotate"                 | "assert"   | whether `format` is enforced |
| unknown_format   | "annotate", "error"                  | "annotate" | a `format` that no specification knows: an annotation, with a warning, or refused |
| on_unsupported   | "error", "warn"                      | "error"    | refuse a schema that cannot be enforced, or list what was left out in `warnings` |

The order of members with `property_order="schema"`: two keys that one schema lists, in `properties` or in `required`, come
in that order, unless another list has them the other way round; but a required key may come ahead of an optional one. Other
keys come when no required one is missing. So the members of several schemas (`allOf`, `$ref`, the branches of `anyOf` and
`oneOf`, ...) take turns. (Where lists lead round in a circle, the order counts in which the keys are first named: by the
schema itself, then by `allOf`, `$ref` and the branches. A branch that no object satisfies lists no keys, nor does an `anyOf`
with a branch that every object satisfies, nor what is only negated.) With "any" a member may come anywhere; a named key
comes at most once either way.

Numbers under "canonical": integers of any length; decimals with any number of digits after the point (`5.50` too); and
exponents where Python's repr writes them (`1e-05`, `1e+16` and beyond). `5.0` is an integer from draft 6 on. Under "any"
every spelling of JSON with an exponent from -400 to 400; so `10`, `1E1` and `100e-01` are all integers.

With `indent` each depth of nesting has states of its own; they are made when a text first gets there.
"""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass
from typing import Any, Literal

__all__ = ["SchemaOptions"]

_CHOICES: dict[str, tuple[Any, ...]] = {
    "property_order": ("schema", "any"),
    "whitespace": ("flexible", "single", "compact"),
    "escapes": ("canonical", "any"),
    "numbers": ("canonical", "any"),
    "format": ("assert", "annotate"),
    "unknown_format": ("annotate", "error"),
    "on_unsupported": ("error", "warn"),
}
_MAX_SPACES = 1024
_SEPARATORS = re.compile(r"[ \t\n\r]*[,:][ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """Options of `compile_json_schema`; the module's docstring is their table."""

    dialect: str | None = None
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
    unknown_format: Literal["annotate", "error"] = "annotate"
    on_unsupported: Literal["error", "warn"] = "error"
    draft: InitVar[str | None] = None

    def __post_init__(self, draft: str | None) -> None:
        if draft is not None:
            if self.dialect not in (None, draft):
                raise ValueError(f"dialect={self.dialect!r} and draft={draft!r} are the same option: give one of them")
            object.__setattr__(self, "dialect", draft)
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(map(repr, allowed))}")
        for name in ("max_whitespace", "indent"):
            number = getattr(self, name)
            if name == "indent" and number is None:
                continue
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MAX_SPACES:
                raise ValueError(f"{name}={number!r}: choose 0 to {_MAX_SPACES}")
        if self.separators is not None:
            self._check_separators()

    def _check_separators(self) -> None:
        given = self.separators
        well_formed = isinstance(given, tuple | list) and [
            isinstance(text, str) and _SEPARATORS.fullmatch(text) and sign in text
            for text, sign in zip(given, ",:", strict=False)
        ]
        if not well_formed or len(given) != 2 or not all(well_formed):  # type: ignore[arg-type]
            raise ValueError(f'separators={given!r}: choose two texts, such as (", ", ": "), with white space at most')
        item, key = given  # type: ignore[misc]
        if self.indent is not None and not item.startswith(","):
            raise ValueError(f"separators={given!r}: with indent= choose a first one that begins with its comma")
        object.__setattr__(self, "separators", (item, key))

    @property
    def exact_separators(self) -> tuple[str, str] | None:
        """What stands between items and between a key and its value; None where white space is free."""
        return (",", ": ") if self.separators is None and self.indent is not None else self.separators
