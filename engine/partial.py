"""The object while its text grows: `grower(schema's type)` makes a function from the text so far to a partial value.

    text so far                       parsed                     as Person
    {"name": "Ad                      {"name": "Ad"}             Person(name="Ad", born=None)
    {"name": "Ada", "born": "1815     {"name": ..., "born": ...} Person(name="Ada", born="1815")
    {"name": "Ada", "born": "1815-12-10"                         Person(name="Ada", born=date(1815, 12, 10))

What a partial instance guarantees:

- pydantic models, dataclasses and TypedDicts are there as such at every depth, as soon as their `{` is;
- nothing is validated and no validator or __post_init__ runs: bounds that span several members may not hold yet;
- a member that has not come yet has its default, or None where it has none (a TypedDict leaves it out); the
  `model_fields_set` of a model names those that have come;
- a string that is still being written is the str so far, whatever type it is to be; a number may still get digits;
- everything else (dates, enums, sets, tuples) is converted once it is complete, and is plain JSON where that fails;
- of a union the first branch that fits what is there is taken: a later chunk may take another.

It walks pydantic's core schema (TypeAdapter.core_schema), where names are resolved and generics filled in.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["grower"]

_NOTHING: Any = object()
_TRANSPARENT = ("default", "nullable", "function-after", "function-before", "function-wrap", "model-field")
_RECORDS = ("model", "dataclass", "typed-dict")


def grower(python_type: Any) -> Callable[[str], Any]:
    """A function from the JSON text so far to the partial value of `python_type`; None: the JSON itself.

    Where there is no value in the text yet, it answers None.
    """
    schema: Any = {"type": "any"}
    if python_type is not None:
        from pydantic import TypeAdapter

        adapter = python_type if isinstance(python_type, TypeAdapter) else TypeAdapter(python_type)
        schema = adapter.core_schema
    growth = _Growth()

    def grow(text: str) -> Any:
        so_far = _parsed(text, "trailing-strings")
        return None if so_far is _NOTHING else growth.of(schema, so_far, _parsed(text, True))

    return grow


def _parsed(text: str, partial: Any) -> Any:
    """The JSON value that has begun in `text`, or _NOTHING; `partial` as in pydantic_core.from_json."""
    from pydantic_core import from_json

    try:
        return from_json(text, allow_partial=partial)
    except ValueError:  # white space alone, or a literal, number or root string that is not whole
        return _NOTHING


class _Growth:
    """One walk over a core schema and two parses of the text: with the string in the making, and without."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._validators: dict[int, Any] = {}

    def of(self, schema: Any, value: Any, complete: Any) -> Any:
        """`value` as `schema` has it; `complete` is the same without the string in the making, or _NOTHING."""
        kind = schema["type"]
        if kind == "any":
            return value
        if kind == "definitions":
            self._definitions.update((definition["ref"], definition) for definition in schema["definitions"])
            return self.of(schema["schema"], value, complete)
        if kind == "definition-ref":
            return self.of(self._definitions[schema["schema_ref"]], value, complete)
        if kind == "nullable" and value is None:
            return None
        if kind in _TRANSPARENT:
            return self.of(schema["schema"], value, complete)
        if kind == "json-or-python":
            return self.of(schema["json_schema"], value, complete)
        if kind in ("union", "tagged-union"):
            branch = self._branch(schema, value, complete)
            return value if branch is None else self.of(branch, value, complete)
        if kind in _RECORDS and not schema.get("root_model") and isinstance(value, dict):
            return self._record(schema, value, complete)
        if kind == "model" and schema.get("root_model"):
            return schema["cls"].model_construct(self.of(schema["schema"], value, complete))
        if kind == "list" and isinstance(value, list):
            return self._items(schema.get("items_schema"), value, complete)
        if kind == "dict" and isinstance(value, dict):
            return self._values(schema.get("values_schema"), value, complete)
        converted = _NOTHING if complete is _NOTHING else self._validated(schema, complete)
        return value if converted is _NOTHING else converted  # what goes on yet may be refused

    def _items(self, schema: Any, value: list[Any], complete: Any) -> list[Any]:
        if schema is None:
            return value
        done = complete if isinstance(complete, list) else []
        padded = [*done, *[_NOTHING] * (len(value) - len(done))]
        return [self.of(schema, item, whole) for item, whole in zip(value, padded, strict=True)]

    def _values(self, schema: Any, value: dict[str, Any], complete: Any) -> dict[str, Any]:
        if schema is None:
            return value
        done = complete if isinstance(complete, dict) else {}
        return {key: self.of(schema, member, done.get(key, _NOTHING)) for key, member in value.items()}

    def _record(self, schema: Any, value: dict[str, Any], complete: Any) -> Any:
        """A model, dataclass or TypedDict with the members that are there."""
        done = complete if isinstance(complete, dict) else {}
        found: dict[str, Any] = {}
        missing: dict[str, Any] = {}
        for name, field in _fields(schema):
            key = next((key for key in _keys(name, field) if key in value), None)
            if key is not None:
                found[name] = self.of(field["schema"], value[key], done.get(key, _NOTHING))
            else:
                missing[name] = _default(field["schema"])
        if schema["type"] == "typed-dict":
            return found
        if schema["type"] == "model":
            return schema["cls"].model_construct(_fields_set=set(found), **missing, **found)
        instance = object.__new__(schema["cls"])
        for name, member in {**missing, **found}.items():
            object.__setattr__(instance, name, member)  # frozen dataclasses too
        return instance

    def _branch(self, schema: Any, value: Any, complete: Any) -> Any:
        """The branch of a union that what is there fits, or None."""
        if schema["type"] == "tagged-union":
            tag = schema["discriminator"]
            named = complete.get(tag) if isinstance(complete, dict) and isinstance(tag, str) else None
            branches = schema["choices"]
            return branches.get(named) if named in branches else None
        choices = [choice[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]]
        return next((choice for choice in choices if self._may_become(choice, value, complete)), None)

    def _may_become(self, schema: Any, value: Any, complete: Any) -> bool:
        """Whether `value` can grow into `schema`, judged by its JSON type, its keys and its constants."""
        kind = schema["type"]
        if kind == "definition-ref":
            return self._may_become(self._definitions[schema["schema_ref"]], value, complete)
        if kind in ("union", "tagged-union"):
            return self._branch(schema, value, complete) is not None
        if kind == "nullable" and value is None:
            return True
        if kind in _TRANSPARENT:
            return self._may_become(schema["schema"], value, complete)
        if isinstance(value, dict):
            if kind not in _RECORDS:
                return kind in ("dict", "any")
            fields = {key: field["schema"] for name, field in _fields(schema) for key in _keys(name, field)}
            done = complete if isinstance(complete, dict) else {}
            return all(
                key in fields and self._may_become(fields[key], member, done.get(key, _NOTHING))
                for key, member in value.items()
            )
        if isinstance(value, list):
            return kind in ("list", "tuple", "set", "frozenset", "generator", "any")
        if kind in ("dict", "list", "tuple", "set", "frozenset", *_RECORDS):
            return False
        if complete is _NOTHING:  # a string in the making
            return kind not in ("int", "float", "bool", "none")
        return self._validated(schema, value) is not _NOTHING

    def _validated(self, schema: Any, value: Any) -> Any:
        from pydantic_core import SchemaValidator, ValidationError, core_schema, to_json

        validator = self._validators.get(id(schema))
        if validator is None:
            known = list(self._definitions.values())
            validator = SchemaValidator(core_schema.definitions_schema(schema, known) if known else schema)
            self._validators[id(schema)] = validator
        try:
            # From JSON text, since that is how the finished answer is read: "2024-01-31" is a date there.
            return validator.validate_json(to_json(value))
        except ValidationError:
            return _NOTHING


def _fields(schema: Any) -> Iterable[tuple[str, Any]]:
    """(name, field) of each member of a model, dataclass or TypedDict."""
    if schema["type"] == "typed-dict":
        return schema["fields"].items()
    inner = schema["schema"]
    while "fields" not in inner:  # validators of the whole class are wrapped around its fields
        inner = inner["schema"]
    fields = inner["fields"]
    return fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)


def _keys(name: str, field: Any) -> list[str]:
    """The keys under which a member may stand in the text."""
    alias = field.get("validation_alias")
    paths = alias if isinstance(alias, list) else [alias]
    return [*(path[0] if isinstance(path, list) else path for path in paths if path), name]


def _default(schema: Any) -> Any:
    """A member's default, or None where it has none."""
    if schema["type"] != "default":
        return None
    if "default_factory" in schema:
        return None if schema.get("default_factory_takes_data") else schema["default_factory"]()
    return copy.deepcopy(schema["default"])  # mutable ones are not shared between instances
