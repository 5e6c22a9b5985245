"""The keywords of JSON Schema: which of them each dialect has, and what their values must look like.

A dialect is a table from a keyword's name to a `Keyword`: the family of keywords that it belongs to (which part of a
value it speaks about, one bit) and a checker. Names outside the table are annotations and are never looked at.

A checker is called once for each occurrence while a schema is loaded. It raises InvalidError when the value is
malformed, refuses what cannot be enforced, and hands every subschema to the schema it stands in: `reach` for schemas
of children, `reach_here` for schemas of the same instance. `$defs` and `definitions` are no more than places that
references may lead to: what is in them counts from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.grammars.errors import InvalidError, LimitExceeded, UnsupportedError

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = [
    "ANY_TYPE",
    "ARRAY",
    "ARRAYS",
    "BOOLEAN",
    "DEFAULT_DIALECT",
    "FALSE",
    "INTEGER",
    "LOGIC",
    "NULL",
    "NUMBER",
    "NUMBERS",
    "OBJECT",
    "OBJECTS",
    "REFERENCE",
    "STRING",
    "STRINGS",
    "TRUE",
    "VALUES",
    "Dialect",
    "dialect_named",
    "escape",
    "is_negation",
    "with_vocabularies",
]

# JSON types as bits; a number that is only wanted integral has INTEGER without NUMBER.
NULL, FALSE, TRUE, INTEGER, NUMBER, STRING, ARRAY, OBJECT = (1 << bit for bit in range(8))
BOOLEAN, ANY_TYPE = FALSE | TRUE, 255
TYPES: Mapping[str, int] = MappingProxyType({
    "null": NULL, "boolean": BOOLEAN, "integer": INTEGER, "number": NUMBER | INTEGER, "string": STRING,
    "array": ARRAY, "object": OBJECT,
})  # fmt: skip

# Families of keywords as bits; 0 is for what needs no work when a schema is expanded.
STRINGS, NUMBERS, ARRAYS, OBJECTS, VALUES, LOGIC, REFERENCE = (1 << bit for bit in range(7))

MAX_COUNT = 2**31 - 1  # of characters, items or members: registers have 32 bits
MAX_COUNTED = 10_000  # of items that satisfy `contains`; each number is a state
MAX_CONSTANT_DEPTH = 200  # containers within containers in one `const` or member of `enum`

Check = Callable[["Schema", str, Any], None]


class Keyword(NamedTuple):
    """One keyword of one dialect.

    Attributes:
        family: the bit of the family that expands it, or 0.
        check: called with the schema it stands in, its name and its value.
    """

    family: int
    check: Check


class Dialect(NamedTuple):
    """One draft of the specification.

    Attributes:
        name: as options.dialect and messages spell it.
        uri: its `$schema`, without an empty fragment.
        keywords: see the module's docstring.
        identifier: the keyword that names a schema's base URI.
        reference_alone: whether `$ref` makes its siblings void (draft 7 and earlier).
        integral_floats: whether 1.0 is an integer (since draft 6).
        lenient: whether the spelling of earlier drafts is taken where it cannot be mistaken (`items` as an array,
            boolean `exclusiveMinimum`); for schemas that name no dialect.
    """

    name: str
    uri: str
    keywords: Mapping[str, Keyword]
    identifier: str = "$id"
    reference_alone: bool = False
    integral_floats: bool = True
    lenient: bool = False

    def base_of(self, contents: Mapping[str, Any]) -> str | None:
        """The URI reference by which `contents` starts a resource of its own, or None."""
        base = contents.get(self.identifier)
        if not isinstance(base, str) or (self.reference_alone and ("$ref" in contents or base.startswith("#"))):
            return None
        return base


def escape(name: str) -> str:
    """`name` as one step of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


def _wrong(schema: Schema, key: str, expected: str, hint: str = "") -> InvalidError:
    return InvalidError(f"{key} must be {expected}", pointer=f"{schema.pointer}/{key}", hint=hint)


# Checkers of plain values


def _number(schema: Schema, key: str, value: Any) -> None:
    if not _is_number(value):
        raise _wrong(schema, key, "a number")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _exclusive(schema: Schema, key: str, value: Any) -> None:
    if isinstance(value, bool) and schema.scope.dialect.lenient:
        _exclusive_flag(schema, key, value)
    else:
        _number(schema, key, value)


def _exclusive_flag(schema: Schema, key: str, value: Any) -> None:
    bound = "minimum" if key == "exclusiveMinimum" else "maximum"
    if not isinstance(value, bool):
        raise _wrong(schema, key, f"true or false beside {bound}", "numbers came with draft 6")
    if bound not in schema.contents:
        raise InvalidError(f"{key} needs {bound} beside it", pointer=f"{schema.pointer}/{key}")


def _multiple(schema: Schema, key: str, value: Any) -> None:
    _number(schema, key, value)
    if value <= 0:
        raise _wrong(schema, key, "greater than 0")


def _count(schema: Schema, key: str, value: Any) -> None:
    if not _is_number(value) or value < 0 or value != int(value):
        raise _wrong(schema, key, "a non-negative integer")
    if value > MAX_COUNT:
        hint = "use a smaller number"
        raise LimitExceeded("count", value, MAX_COUNT, pointer=f"{schema.pointer}/{key}", hint=hint)


def _small_count(schema: Schema, key: str, value: Any) -> None:
    _count(schema, key, value)
    if value > MAX_COUNTED and "contains" in schema.contents:
        hint = "use a smaller number"
        raise LimitExceeded("count", value, MAX_COUNTED, pointer=f"{schema.pointer}/{key}", hint=hint)


def _flag(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _wrong(schema, key, "true or false")


def _strings(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        hint = "list the names in the `required` of the object" if isinstance(value, bool) else ""
        raise _wrong(schema, key, "an array of strings", hint)
    _check_texts(schema, key, value)


def _check_texts(schema: Schema, key: str, names: Iterable[str]) -> None:
    """Refuse names that no JSON text can contain."""
    for name in names:
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            reason = f"{name!a} has a lone surrogate, which no text can contain"
            raise InvalidError(reason, pointer=f"{schema.pointer}/{key}")


def _type(schema: Schema, key: str, value: Any) -> None:
    if isinstance(value, str) and value in TYPES:
        schema.types = TYPES[value]
        return
    names = value if isinstance(value, list) else [value]
    types = 0
    for name in names:
        bits = TYPES.get(name) if isinstance(name, str) else None
        if bits is None:
            raise _wrong(schema, key, f"among {', '.join(TYPES)}, or an array of them")
        types |= bits
    if not names:
        raise _wrong(schema, key, "at least one type")
    schema.types = types


def _format(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(schema, key, "a string")
    schema.document.check_format(value, f"{schema.pointer}/{key}")


def _pattern(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(schema, key, "a string")
    schema.document.check_pattern(value, f"{schema.pointer}/{key}", key)


def _enum(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, list):
        raise _wrong(schema, key, "an array")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            _constant(schema, f"{key}/{index}", item)


def _constant(schema: Schema, key: str, value: Any) -> None:
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(isinstance(name, str) for name in item):
                    raise _wrong(schema, key, "a JSON value (names are strings)")
                _check_texts(schema, key, item)
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            elif not (item is None or isinstance(item, str | bool) or _is_number(item)):
                raise _wrong(schema, key, "a JSON value")
        level, depth = inner, depth + 1
        if depth > MAX_CONSTANT_DEPTH:
            hint = "nest the constant less deeply"
            raise LimitExceeded("nesting", depth, MAX_CONSTANT_DEPTH, pointer=f"{schema.pointer}/{key}", hint=hint)


# Checkers of subschemas


def _child(schema: Schema, key: str, value: Any) -> None:
    schema.reach(value, f"{schema.pointer}/{key}")


def _children(schema: Schema, key: str, value: Any) -> None:
    for index, item in enumerate(_nonempty(schema, key, value)):
        schema.reach(item, f"{schema.pointer}/{key}/{index}")


def _named_children(schema: Schema, key: str, value: Any) -> None:
    pointer = f"{schema.pointer}/{key}/"
    for name, item in _named(schema, key, value):
        schema.reach(item, pointer + escape(name))


def _pattern_children(schema: Schema, key: str, value: Any) -> None:
    pointer = f"{schema.pointer}/{key}/"
    for name, item in _named(schema, key, value):
        schema.document.check_pattern(name, pointer + escape(name), key)
        schema.reach(item, pointer + escape(name))


def _items(schema: Schema, key: str, value: Any) -> None:
    if isinstance(value, list) and not schema.scope.dialect.lenient:
        raise _wrong(schema, key, "a schema", "use prefixItems: arrays in `items` ended with draft 2019-09")
    _tuple_items(schema, key, value)


def _tuple_items(schema: Schema, key: str, value: Any) -> None:
    if isinstance(value, list):
        if "prefixItems" in schema.contents and schema.scope.dialect.lenient:
            raise _wrong(schema, key, "a schema beside prefixItems")
        for index, item in enumerate(value):
            schema.reach(item, f"{schema.pointer}/{key}/{index}")
    else:
        _child(schema, key, value)


def _additional_items(schema: Schema, key: str, value: Any) -> None:
    if isinstance(schema.contents.get("items"), list):
        _child(schema, key, value)


def _names(schema: Schema, key: str, value: Any) -> None:
    # Expanding the schema of the objects expands the schema of their names, as if of the same instance.
    schema.reach_here(value, f"{schema.pointer}/{key}", key)


def _negated(schema: Schema, key: str, value: Any) -> None:
    if is_negation(schema, value):  # not not S is S
        schema.reach_here(value["not"], f"{schema.pointer}/{key}/not", key)
        return
    schema.reach_here(value, f"{schema.pointer}/{key}", key)
    schema.judge_early()


def is_negation(schema: Schema, contents: Any) -> bool:
    """Whether `contents`, a subschema of `schema`, says nothing but `not`."""
    if not isinstance(contents, dict) or "not" not in contents:
        return False
    dialect = schema.scope.dialect
    speaking = (key for key in contents if key in dialect.keywords or key in ("$schema", dialect.identifier))
    return list(speaking) == ["not"]


def _all_same(schema: Schema, key: str, value: Any) -> None:
    for index, item in enumerate(_nonempty(schema, key, value)):
        schema.reach_here(item, f"{schema.pointer}/{key}/{index}", key)


def _one_of(schema: Schema, key: str, value: Any) -> None:
    _all_same(schema, key, value)
    if any(sum(_may_be(branch, container) for branch in value) > 1 for container in ("object", "array")):
        schema.judge_early()


def _may_be(contents: Any, name: str) -> bool:
    types = contents.get("type", name) if isinstance(contents, dict) and "$ref" not in contents else name
    return types == name or (isinstance(types, list) and name in types)


def _branch(schema: Schema, key: str, value: Any) -> None:
    if "if" in schema.contents:
        schema.reach_here(value, f"{schema.pointer}/{key}", key)


def _if(schema: Schema, key: str, value: Any) -> None:
    schema.reach_here(value, f"{schema.pointer}/{key}", key)  # alone it may evaluate something
    if "then" in schema.contents or "else" in schema.contents:
        schema.judge_early()


def _dependent_schemas(schema: Schema, key: str, value: Any) -> None:
    pointer = f"{schema.pointer}/{key}/"
    for name, item in _named(schema, key, value):
        schema.reach_here(item, pointer + escape(name), key)


def _dependent_required(schema: Schema, key: str, value: Any) -> None:
    for name, item in _named(schema, key, value):
        _strings(schema, f"{key}/{escape(name)}", item)


def _dependencies(schema: Schema, key: str, value: Any) -> None:
    pointer = f"{schema.pointer}/{key}/"
    for name, item in _named(schema, key, value):
        if isinstance(item, list):
            _strings(schema, f"{key}/{escape(name)}", item)
        else:
            schema.reach_here(item, pointer + escape(name), key)


def _reference(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(schema, key, "a string")
    if key == "$recursiveRef" and value != "#":
        raise _wrong(schema, key, '"#"')
    schema.refer(key, value)


def _dynamic_anchor(schema: Schema, key: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(schema, key, "a string")


def _named(schema: Schema, key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise _wrong(schema, key, "an object")
    for name in value:
        if not isinstance(name, str):
            raise InvalidError(f"{key} has a name that is no string: {name!r}", pointer=f"{schema.pointer}/{key}")
    _check_texts(schema, key, value)
    return value.items()


def _nonempty(schema: Schema, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _wrong(schema, key, "an array of one or more schemas")
    return value


def _unevaluated(schema: Schema, key: str, value: Any) -> None:
    _child(schema, key, value)
    if value is not True:
        schema.document.evaluates = True
        schema.judge_early()


# Refusals. What a keyword says about arrays does not matter where `type` leaves no array, and so on.


def _unique(schema: Schema, key: str, value: Any) -> None:
    _flag(schema, key, value)
    if value and _may_be(schema.contents, "array"):
        schema.document.unique = True


# The dialects

_COMMON: dict[str, Keyword] = {
    "$ref": Keyword(REFERENCE, _reference),
    "type": Keyword(0, _type),
    "enum": Keyword(VALUES, _enum),
    "allOf": Keyword(LOGIC, _all_same),
    "anyOf": Keyword(LOGIC, _all_same),
    "oneOf": Keyword(LOGIC, _one_of),
    "not": Keyword(LOGIC, _negated),
    "minLength": Keyword(STRINGS, _count),
    "maxLength": Keyword(STRINGS, _count),
    "pattern": Keyword(STRINGS, _pattern),
    "format": Keyword(STRINGS, _format),
    "minimum": Keyword(NUMBERS, _number),
    "maximum": Keyword(NUMBERS, _number),
    "multipleOf": Keyword(NUMBERS, _multiple),
    "minItems": Keyword(ARRAYS, _count),
    "maxItems": Keyword(ARRAYS, _count),
    "uniqueItems": Keyword(ARRAYS, _unique),
    "properties": Keyword(OBJECTS, _named_children),
    "patternProperties": Keyword(OBJECTS, _pattern_children),
    "additionalProperties": Keyword(OBJECTS, _child),
    "required": Keyword(OBJECTS, _strings),
    "minProperties": Keyword(OBJECTS, _count),
    "maxProperties": Keyword(OBJECTS, _count),
    # Replaced in 2019-09, but a validator may go on enforcing it there, and dropping it would weaken a schema.
    "dependencies": Keyword(LOGIC, _dependencies),
}

_DRAFT4 = _COMMON | {
    "items": Keyword(ARRAYS, _tuple_items),
    "additionalItems": Keyword(ARRAYS, _additional_items),
    "exclusiveMinimum": Keyword(NUMBERS, _exclusive_flag),
    "exclusiveMaximum": Keyword(NUMBERS, _exclusive_flag),
}
_DRAFT6 = _DRAFT4 | {
    "const": Keyword(VALUES, _constant),
    "contains": Keyword(ARRAYS, _child),
    "propertyNames": Keyword(OBJECTS, _names),
    "exclusiveMinimum": Keyword(NUMBERS, _number),
    "exclusiveMaximum": Keyword(NUMBERS, _number),
}
_DRAFT7 = _DRAFT6 | {
    "if": Keyword(LOGIC, _if),
    "then": Keyword(LOGIC, _branch),
    "else": Keyword(LOGIC, _branch),
}
_DRAFT2019 = _DRAFT7 | {
    "dependentRequired": Keyword(LOGIC, _dependent_required),
    "dependentSchemas": Keyword(LOGIC, _dependent_schemas),
    "minContains": Keyword(ARRAYS, _small_count),
    "maxContains": Keyword(ARRAYS, _small_count),
    "unevaluatedItems": Keyword(LOGIC, _unevaluated),
    "unevaluatedProperties": Keyword(LOGIC, _unevaluated),
    "$recursiveRef": Keyword(REFERENCE, _reference),
    "$recursiveAnchor": Keyword(0, _flag),
}
_DRAFT2020 = {
    key: keyword
    for key, keyword in _DRAFT2019.items()
    if key not in ("additionalItems", "$recursiveRef", "$recursiveAnchor")
} | {
    "prefixItems": Keyword(ARRAYS, _children),
    "items": Keyword(ARRAYS, _items),
    "$dynamicRef": Keyword(REFERENCE, _reference),
    "$dynamicAnchor": Keyword(0, _dynamic_anchor),
}
_LENIENT = _DRAFT2020 | {
    "additionalItems": Keyword(ARRAYS, _additional_items),
    "exclusiveMinimum": Keyword(NUMBERS, _exclusive),
    "exclusiveMaximum": Keyword(NUMBERS, _exclusive),
}

_DIALECTS: tuple[Dialect, ...] = (
    Dialect("2020-12", "https://json-schema.org/draft/2020-12/schema", MappingProxyType(_DRAFT2020)),
    Dialect("2019-09", "https://json-schema.org/draft/2019-09/schema", MappingProxyType(_DRAFT2019)),
    Dialect("draft-07", "http://json-schema.org/draft-07/schema", MappingProxyType(_DRAFT7), reference_alone=True),
    Dialect("draft-06", "http://json-schema.org/draft-06/schema", MappingProxyType(_DRAFT6), reference_alone=True),
    Dialect(
        "draft-04", "http://json-schema.org/draft-04/schema", MappingProxyType(_DRAFT4),
        identifier="id", reference_alone=True, integral_floats=False,
    ),
)  # fmt: skip

# What a schema is read as that names no dialect and is given none: 2020-12, with the older spellings.
DEFAULT_DIALECT = _DIALECTS[0]._replace(keywords=MappingProxyType(_LENIENT), lenient=True)

_BY_URI: Mapping[str, Dialect] = MappingProxyType({dialect.uri.split("://")[1]: dialect for dialect in _DIALECTS})
_TOO_OLD = frozenset(f"json-schema.org/draft-0{number}/schema" for number in range(4))


# The keywords of each vocabulary; those of no vocabulary here belong to the core, which no metaschema can leave out.
_APPLICATOR = (
    "prefixItems", "items", "additionalItems", "contains", "properties", "patternProperties", "additionalProperties",
    "propertyNames", "dependentSchemas", "dependencies", "if", "then", "else", "allOf", "anyOf", "oneOf", "not",
)  # fmt: skip
_VALIDATION = (
    "type", "enum", "const", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties",
    "maxProperties", "required", "dependentRequired",
)  # fmt: skip
_UNEVALUATED, _FORMAT = ("unevaluatedItems", "unevaluatedProperties"), ("format",)
_VOCABULARIES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "https://json-schema.org/draft/2019-09/vocab/": {
        "core": (), "applicator": _APPLICATOR + _UNEVALUATED, "validation": _VALIDATION, "meta-data": (),
        "format": _FORMAT, "content": (),
    },
    "https://json-schema.org/draft/2020-12/vocab/": {
        "core": (), "applicator": _APPLICATOR, "unevaluated": _UNEVALUATED, "validation": _VALIDATION, "meta-data": (),
        "format-annotation": _FORMAT, "format-assertion": _FORMAT, "content": (),
    },
})  # fmt: skip


def with_vocabularies(dialect: Dialect, vocabularies: Mapping[str, Any]) -> Dialect:
    """`dialect` without the keywords of the vocabularies that the `$vocabulary` of a metaschema does not name.

    Raises:
        UnsupportedError: it requires a vocabulary that is not known.
    """
    known = {base + name: keys for base, names in _VOCABULARIES.items() for name, keys in names.items()}
    for uri, required in vocabularies.items():
        if required and uri not in known:
            raise UnsupportedError(
                f"the metaschema requires the vocabulary {uri!r}, which is unknown", keyword="$schema"
            )
    absent = {key for keys in known.values() for key in keys}
    absent.difference_update(key for uri in vocabularies for key in known.get(uri, ()))
    kept = {key: keyword for key, keyword in dialect.keywords.items() if key not in absent}
    return dialect._replace(keywords=MappingProxyType(kept))


def dialect_named(name: str) -> Dialect | None:
    """The dialect of a `$schema` URI, or of a name such as "2020-12", "draft-07" or "draft7"; None if unknown.

    Raises:
        UnsupportedError: for draft 3 and earlier, whose keywords mean other things.
    """
    bare = name.removesuffix("#").removeprefix("https://").removeprefix("http://")
    if bare in _TOO_OLD:
        hint = "draft 4 is the earliest"
        raise UnsupportedError(f"the dialect {name!r} is not supported", keyword="$schema", hint=hint)
    if bare in _BY_URI:
        return _BY_URI[bare]
    short = name.lower().removeprefix("draft").lstrip("-").lstrip("0")
    return next((d for d in _DIALECTS if short == d.name.removeprefix("draft-").lstrip("0")), None)
