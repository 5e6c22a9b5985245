"""The jsonschema library as a second opinion: read exactly, with ECMA-262 patterns, and with formats asserted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

from jsonschema import Draft4Validator, Draft201909Validator, Draft202012Validator, FormatChecker
from jsonschema.validators import extend, validator_for
from keyword_shares import CONSTANTS, MAPS, subschemas
from referencing import Registry
from referencing.jsonschema import EMPTY_REGISTRY
from unevaluated import KEYWORDS

__all__ = ["Opinion", "exact_number", "pattern_for_python"]

Schema = Any
# What ECMA-262 takes for white space, inside of a character class.
_SPACES = "\\t-\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_ANCHORS_AND_CLASSES = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\$", re.DOTALL)


class Opinion:
    """Which instances of a schema jsonschema takes.

    A schema that names no dialect is read as 2020-12; one in the spelling of an earlier draft, as that draft.

    Attributes:
        repeated: whether the text that was read last had a key twice in one object; the last of the two counted.
    """

    def __init__(self, schema: Schema, registry: Registry[Any] = EMPTY_REGISTRY) -> None:
        exact = json.loads(json.dumps(schema), parse_float=exact_number)
        default = Draft202012Validator
        if isinstance(exact, dict) and "$schema" not in exact:
            spelled = {*_spellings(exact)}
            default = (
                Draft4Validator if "flags" in spelled else Draft201909Validator if "tuples" in spelled else default
            )
        kind = validator_for(exact, default=default)
        self._integral_floats = kind is not Draft4Validator
        self._validator = _extended(kind)(_with_python_patterns(exact), format_checker=_formats(), registry=registry)
        self.repeated = False

    def read(self, text: str | bytes) -> Any:
        """The value of a JSON text, with numbers as they are written."""
        self.repeated = False

        def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            self.repeated |= len(dict(pairs)) < len(pairs)
            return dict(pairs)

        # In draft 4 a number with a fraction of zero is no integer.
        return json.loads(
            text, object_pairs_hook=members, parse_float=exact_number if self._integral_floats else Decimal
        )

    def faults(self, text: str | bytes) -> list[str]:
        """What is wrong with a JSON text; nothing where it is valid.

        Raises:
            re.error: a pattern that Python cannot read.
            referencing.exceptions.Unresolvable: a reference to a document that is not in the registry.
        """
        value = self.read(text)
        with localcontext(prec=1000):
            return [f"{error.json_path}: {error.message[:200]}" for error in self._validator.iter_errors(value)]


def exact_number(text: str) -> int | Decimal:
    """Exactly: jsonschema divides floats inexactly (3.3 is no multiple of 0.1 to it)."""
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() else exact


@cache
def _extended(kind: Any) -> Any:
    """A kind of validator, with what is evaluated as the specification has it."""
    return extend(kind, {key: check for key, check in KEYWORDS.items() if key in kind.VALIDATORS})


def _spellings(schema: Schema) -> Iterator[str]:
    """What in a schema is no longer written so in 2020-12."""
    if isinstance(schema, dict):
        if isinstance(schema.get("items"), list):
            yield "tuples"
        if any(isinstance(schema.get(key), bool) for key in ("exclusiveMinimum", "exclusiveMaximum")):
            yield "flags"
        for inner in subschemas(schema):
            yield from _spellings(inner)


def _with_python_patterns(schema: Schema) -> Schema:
    """The schema with its patterns in Python's spelling."""
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "pattern" and isinstance(value, str):
            found[key] = pattern_for_python(value)
        elif key == "patternProperties" and isinstance(value, dict):
            found[key] = {pattern_for_python(name): _with_python_patterns(inner) for name, inner in value.items()}
        elif key in MAPS and isinstance(value, dict):
            found[key] = {name: _with_python_patterns(inner) for name, inner in value.items()}
        elif key not in CONSTANTS and isinstance(value, list):
            found[key] = [_with_python_patterns(inner) for inner in value]
        else:
            found[key] = value if key in CONSTANTS else _with_python_patterns(value)
    return found


@cache
def pattern_for_python(pattern: str) -> str:
    """A pattern that means in Python what `pattern` means in ECMA-262, where both know its syntax."""

    def translated(match: re.Match[str]) -> str:
        piece = match[0]
        if piece == "$":
            return r"\Z"
        if piece == r"\s":
            return f"[{_SPACES}]"
        return re.sub(r"\\(.)", lambda m: _SPACES if m[1] == "s" else m[0], piece) if piece[0] == "[" else piece

    found = _ANCHORS_AND_CLASSES.sub(translated, pattern)
    return f"(?ai){found[4:]}" if found.startswith("(?i)") else f"(?a){found}"


@cache
def _formats() -> FormatChecker:
    """jsonschema's checkers of 2020-12, but for what their libraries get wrong."""
    formats = FormatChecker(formats=())
    for name, (check, errors) in Draft202012Validator.FORMAT_CHECKER.checkers.items():
        if name in ("relative-json-pointer", "uri-template"):  # a first digit alone; a loose parser
            continue

        def checked(value: object, name: str = name, check: Any = check) -> bool:
            if isinstance(value, str) and value.endswith("\n") and name not in ("json-pointer", "regex"):
                return False  # Python's `$` matches ahead of it
            if isinstance(value, str) and name in ("date", "time", "date-time"):
                value = re.sub("^0000", "2000", value.replace(":60", ":59"))  # they know no leap seconds and no year 0
            if isinstance(value, str) and name[:3] in ("uri", "iri") and "[V" in value:
                return True  # addresses of a future version with a capital V
            if isinstance(value, str) and name == "regex" and re.search("[0-9]{10}", value):
                return True  # counts beyond 32 bits
            return bool(check(value))

        formats.checkers[name] = (checked, errors)
    return formats
