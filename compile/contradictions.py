"""Why nothing satisfies a schema: the deepest place that is at fault, for the error.

Asked only once a schema is known to have no value, and by keywords: what stands at a place (a schema with its `allOf` and what
its references lead to), of that what cannot be by itself, and of an object or array the first member or item that must be
there and cannot be.

    {"type": "object", "properties": {"a": false}, "required": ["a"]}
    UnsatisfiableError: /properties/a: nothing may stand here, and the member 'a' is required. ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.grammars import boolean, regular
from maskwright.grammars.errors import GrammarError, UnsatisfiableError
from maskwright.grammars.schema_keywords import ANY_TYPE, ARRAY, OBJECT, escape

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates
    from maskwright.grammars.boolean import Bool
    from maskwright.grammars.schema_document import Schema

__all__ = ["Place", "contradiction"]

_MAX_NAMED = 6  # keywords that a hint names


class Place(NamedTuple):
    """A subschema and where it stands; of true and false the place itself is known only here."""

    pointer: str
    schema: Schema | bool


def contradiction(states: GrammarStates, root: Schema | bool) -> UnsatisfiableError:
    """The error of a schema that no value satisfies."""
    return _Search(states).fault((Place("", root),), "")


class _Search:
    """A descent into what must be and cannot."""

    def __init__(self, states: GrammarStates) -> None:
        self._states = states
        self._met: set[frozenset[Schema | bool]] = set()

    def fault(self, places: Sequence[Place], why: str) -> UnsatisfiableError:
        """The error for schemas that no value satisfies together.

        Args:
            why: why there must be a value, as the end of a sentence; "" for the whole schema.
        """
        here = [*self._together(places)]
        forbidden = next((place.pointer for place in here if place.schema is False), None)
        if forbidden is not None:
            hint = "write a schema that some value satisfies here" + (", or do not ask for a value" if why else "")
            return _error(forbidden, f"nothing may stand here{why}", hint)
        met = frozenset(place.schema for place in here)
        if met in self._met:
            hint = "let it end somewhere: make the member optional, lower the count, or add an alternative"
            return _error(here[0].pointer, f"a value here must hold another such value, without end{why}", hint)
        self._met.add(met)
        try:
            return self._deeper(places, here, why) or self._contradicting(here, why)
        except GrammarError:  # it takes too much to find out more
            return self._contradicting(here, why)

    def _deeper(self, places: Sequence[Place], here: Sequence[Place], why: str) -> UnsatisfiableError | None:
        """The error of a part of what stands `here`, if one is at fault by itself."""
        for part in reversed(here):
            if [part] != [*places] and not self._possible([part]):
                return self.fault([part], why)
        types = reduce(and_, (place.schema.types for place in here if not isinstance(place.schema, bool)), ANY_TYPE)
        if types == OBJECT and (name := next(_forbidden_names(here), None)) is not None:
            return name
        below = self._members(here) if types == OBJECT else self._items(here) if types == ARRAY else ()
        for asked, reason in below:
            if not self._possible(asked):
                return self.fault(asked, reason)
        for place in here:
            for key in ("anyOf", "oneOf"):
                branches = [*_parts(place, key)]
                if branches and not any(self._possible([branch]) for branch in branches):
                    hint = "correct one of them, or add another"
                    return _error(f"{place.pointer}/{key}", f"no value satisfies any of these schemas{why}", hint)
        return None

    def _possible(self, places: Sequence[Place]) -> bool:
        """Whether some value satisfies all of the schemas."""
        return self._states.satisfiable(boolean.all_of(_expression(place.schema) for place in places))

    def _together(self, places: Sequence[Place]) -> Iterator[Place]:
        """The places, and all others whose schemas must hold of the same value."""
        pending, seen = [*reversed(places)], set[int]()
        while pending:
            place = pending.pop()
            schema = place.schema
            yield place
            if isinstance(schema, bool) or id(schema) in seen:
                continue
            seen.add(id(schema))
            found = [
                Place(f"{place.pointer}/$ref" if isinstance(target, bool) else target.pointer, target)
                for target in schema.targets
            ]
            for key in ("allOf", "anyOf", "oneOf"):
                parts = [*_parts(place, key)]
                found += parts if key == "allOf" or len(parts) == 1 else []
            pending += reversed(found)

    def _members(self, here: Sequence[Place]) -> Iterator[tuple[list[Place], str]]:
        """What each required member must satisfy."""
        for key in _required(here):
            why = f", and the member {key!r} is required"
            yield [found for place in here for found in _of_member(place, key)], why

    def _items(self, here: Sequence[Place]) -> Iterator[tuple[list[Place], str]]:
        """What must be contained, and what each item must satisfy that there must be, as far as they differ."""
        least = max(int(_keyword(place.schema, "minItems", 0)) for place in here)
        for place in here:
            contained = _keyword(place.schema, "contains", None)
            count = 0 if contained is None else int(_keyword(place.schema, "minContains", 1))
            if count and not isinstance(place.schema, bool):
                found = Place(f"{place.pointer}/contains", place.schema.subschema(contained))
                yield [found], ", and an array must contain one such item at least"
            least = max(least, count)
        longest = max(len(_first_items(place.schema)[1]) for place in here)
        for index in range(min(least, longest + 1)):
            items = f"{least} items are" if least > 1 else "one item is"
            yield [found for place in here for found in _of_item(place, index)], f", and {items} required"

    @staticmethod
    def _contradicting(here: Sequence[Place], why: str) -> UnsatisfiableError:
        """The error where no place below is at fault by itself: the keywords here contradict each other."""
        named = [
            f"{place.pointer}/{key}"
            for place in here
            if not isinstance(place.schema, bool)
            for key in place.schema.contents
            if _restricts(place.schema, key)
        ]
        shown = ", ".join(named[:_MAX_NAMED]) + (", ..." if len(named) > _MAX_NAMED else "")
        hint = f"relax one of {shown}" if len(named) > 1 else f"relax {shown or 'the schema'}"
        return _error(here[0].pointer, f"no JSON value satisfies the schema{why}", hint)


def _error(pointer: str, reason: str, hint: str) -> UnsatisfiableError:
    return UnsatisfiableError(reason, pointer=pointer, hint=hint)


def _expression(schema: Schema | bool) -> Bool:
    if isinstance(schema, bool):
        return boolean.TRUE if schema else boolean.FALSE
    return schema.expression


def _parts(place: Place, key: str) -> Iterator[Place]:
    """The subschemas in the list of a keyword."""
    schema = place.schema
    if not isinstance(schema, bool):
        for number, contents in enumerate(_keyword(schema, key, ())):
            yield Place(f"{place.pointer}/{key}/{number}", schema.subschema(contents))


def _keyword(schema: Schema | bool, key: str, default: Any) -> Any:
    """The value of a keyword that counts: none beside a reference where that stands alone."""
    if isinstance(schema, bool) or (schema.scope.dialect.reference_alone and "$ref" in schema.contents):
        return default
    return schema.get(key, default)


def _restricts(schema: Schema, key: str) -> bool:
    if key == "type":
        return True
    found = schema.scope.dialect.keywords.get(key)
    return found is not None and bool(found.family)


def _required(here: Sequence[Place]) -> list[str]:
    return [*dict.fromkeys(key for place in here for key in _keyword(place.schema, "required", ()))]


def _forbidden_names(here: Sequence[Place]) -> Iterator[UnsatisfiableError]:
    """The errors of required members whose names may not be."""
    for pointer, schema in here:
        names = _keyword(schema, "propertyNames", True)
        if names is True or isinstance(schema, bool):
            continue
        language = schema.document.algebra.value_of(schema.child(names)).string
        for key in _required(here):
            if not regular.matches(language, key):
                reason, hint = (
                    f"the name of the member {key!r} does not satisfy this, and it is required",
                    "allow the name",
                )
                yield _error(f"{pointer}/propertyNames", reason, f"{hint}, or do not require it")


def _of_member(place: Place, key: str) -> Iterator[Place]:
    """What one schema asks of a member."""
    pointer, schema = place
    if isinstance(schema, bool):
        return
    named, found = _keyword(schema, "properties", {}), False
    if key in named:
        found = True
        yield Place(f"{pointer}/properties/{escape(key)}", schema.subschema(named[key]))
    for pattern, contents in _keyword(schema, "patternProperties", {}).items():
        language = schema.document.pattern_language(pattern)
        if language is None or regular.matches(language, key):
            found = True
            yield Place(f"{pointer}/patternProperties/{escape(pattern)}", schema.subschema(contents))
    others = _keyword(schema, "additionalProperties", True)
    if not found and others is not True:
        yield Place(f"{pointer}/additionalProperties", schema.subschema(others))


def _first_items(schema: Schema | bool) -> tuple[str, Sequence[Any], str]:
    """The keyword of the first items, their schemas, and the keyword of the others."""
    items = _keyword(schema, "items", True)
    if isinstance(items, list):
        return "items", items, "additionalItems"
    return "prefixItems", _keyword(schema, "prefixItems", ()), "items"


def _of_item(place: Place, index: int) -> Iterator[Place]:
    """What one schema asks of an item."""
    pointer, schema = place
    if isinstance(schema, bool):
        return
    key, first, rest = _first_items(schema)
    if index < len(first):
        yield Place(f"{pointer}/{key}/{index}", schema.subschema(first[index]))
    elif (others := _keyword(schema, rest, True)) is not True:
        yield Place(f"{pointer}/{rest}", schema.subschema(others))
