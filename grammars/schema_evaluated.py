"""`unevaluatedProperties` and `unevaluatedItems`: what the other keywords of a schema evaluate, and what is left.

Which members or items are evaluated depends on which branches hold. A *way* is a condition, expressions over shapes that
all hold of the container, and what is evaluated wherever they do:

    {"properties": {"a": A}, "anyOf": [B, C]}      where B holds: a, and what B evaluates; where C does: a, and what C
                                                   evaluates; where both do: all of that

Every way that holds tells the truth, and one of those that hold tells all of it. So `unevaluatedProperties: S` is the
union of the ways, each with "the members beside these are S" (JSON Schema 2020-12 Core, section 11). Branches that hold
evaluate more, never less, and therefore no way says that a branch of `anyOf` fails; `oneOf` and `if` say it anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from maskwright.grammars.boolean import FALSE, TRUE, Bool, all_of, any_of, leaf
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.ir import ArrayShape, ObjectShape, Value
from maskwright.grammars.regular import Regex, matches
from maskwright.grammars.shapes import ArrayView, ObjectView, View

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["restrict_unevaluated"]

MAX_WAYS = 1024  # that one schema can be satisfied in and evaluates different things

Part = Literal["array", "object"]
_KEYWORDS: Mapping[Part, str] = MappingProxyType({"array": "unevaluatedItems", "object": "unevaluatedProperties"})
_VIEWS: Mapping[Part, type[View]] = MappingProxyType({"array": ArrayView, "object": ObjectView})


def restrict_unevaluated(schema: Schema, value: Value) -> Value:
    """`value`, what the other keywords of `schema` admit, restricted by those about what is not evaluated.

    Raises:
        LimitExceeded: too many alternatives evaluate different things.
    """
    if not schema.document.evaluates:
        return value
    object_ = _restricted(schema, "object", value.object)
    return replace(value, array=_restricted(schema, "array", value.array), object=object_)


def _restricted(schema: Schema, part: Part, formula: Bool) -> Bool:
    rest = schema.child(schema.get(_KEYWORDS[part], True))
    if rest is TRUE or formula is FALSE:
        return formula
    known = _conjuncts(formula)
    found = []
    for condition, evaluated in _Evaluation(schema, part, known).ways(schema, alone=True):
        others = [one for one in known if not _implied(one, condition)]
        found.append(all_of((*others, *condition, evaluated.others_are(rest))))
    return any_of(found)


# What is evaluated


@dataclass(frozen=True, slots=True)
class _Keys:
    """The members of an object with certain keys, or all of them."""

    names: tuple[str, ...] = ()
    patterns: tuple[Regex, ...] = ()
    every: bool = False

    def __or__(self, other: Any) -> _Keys:
        return _Keys(
            _merged(self.names, other.names), _merged(self.patterns, other.patterns), self.every or other.every
        )

    def __le__(self, other: Any) -> bool:
        if self.every or other.every:
            return bool(other.every)
        names = (name for name in self.names if name not in other.names)
        return set(self.patterns) <= set(other.patterns) and all(
            any(matches(language, name) for language in other.patterns) for name in names
        )

    def others_are(self, rest: Bool) -> Bool:
        """The objects whose other members all satisfy `rest`."""
        if self.every:
            return TRUE
        names, patterns = ((name, TRUE) for name in self.names), ((language, TRUE) for language in self.patterns)
        return leaf(ObjectShape(tuple(names), tuple(patterns), rest))


@dataclass(frozen=True, slots=True)
class _Items:
    """The first so many items of an array and those that satisfy some of `such`, or all of them."""

    leading: int = 0
    such: tuple[Bool, ...] = ()
    every: bool = False

    def __or__(self, other: Any) -> _Items:
        leading = max(self.leading, other.leading)
        return _Items(leading, _merged(self.such, other.such), self.every or other.every)

    def __le__(self, other: Any) -> bool:
        if self.every or other.every:
            return bool(other.every)
        return self.leading <= other.leading and set(self.such) <= set(other.such)

    def others_are(self, rest: Bool) -> Bool:
        """The arrays whose other items all satisfy `rest`."""
        later = any_of((rest, *self.such))
        return TRUE if self.every or later is TRUE else leaf(ArrayShape((TRUE,) * self.leading, later))


def _own(schema: Schema, part: Part, alone: bool) -> _Keys | _Items:
    """What the keywords of `schema` itself evaluate; `alone`: without the keyword about what is not evaluated."""
    if _is_voided(schema):
        return _NOTHING[part]
    if not alone and schema.get(_KEYWORDS[part]) is not None:
        return _EVERYTHING[part]
    return _own_keys(schema) if part == "object" else _own_items(schema)


def _is_voided(schema: Schema) -> bool:
    """Whether a reference makes all else void."""
    return schema.scope.dialect.reference_alone and "$ref" in schema.contents


def _own_keys(schema: Schema) -> _Keys:
    languages = [schema.document.pattern_language(pattern) for pattern in schema.get("patternProperties", {})]
    patterns = tuple(language for language in languages if language is not None)
    # Of a pattern that was left out it is unknown which keys it evaluates.
    if schema.get("additionalProperties") is not None or len(patterns) < len(languages):
        return _Keys(every=True)
    return _Keys(tuple(schema.get("properties", {})), patterns)


def _own_items(schema: Schema) -> _Items:
    prefix, rest = schema.get("prefixItems", ()), schema.get("items")
    if isinstance(rest, list):
        prefix, rest = rest, schema.get("additionalItems")
    contents = schema.get("contains")
    such = FALSE
    if contents is not None and "prefixItems" in schema.scope.dialect.keywords:  # since 2020-12
        such = schema.child(contents)
    return _Items(len(prefix), () if such is FALSE else (such,), rest is not None or such is TRUE)


_NOTHING: Mapping[Part, _Keys | _Items] = MappingProxyType({"array": _Items(), "object": _Keys()})
_EVERYTHING: Mapping[Part, _Keys | _Items] = MappingProxyType(
    {"array": _Items(every=True), "object": _Keys(every=True)},
)

# In which way

Condition = dict[Bool, None]  # all hold, in order; none of them is `and`, true or false
Way = tuple[Condition, Any]  # Any: what is evaluated, of one kind all through


class _Evaluation:
    """The ways of one schema, those of its subschemas for the same instance among them, for arrays or for objects."""

    def __init__(self, schema: Schema, part: Part, known: Sequence[Bool]) -> None:
        """`known`: what holds of every container that satisfies `schema`."""
        self._schema, self._part, self._algebra = schema, part, schema.document.algebra
        self._known = [one for one in known if one.kind == "leaf"]
        self._nothing: Way = ({}, _NOTHING[part])
        self._ways: dict[Schema, list[Way]] = {}
        self._possible: dict[frozenset[Bool], bool] = {}

    def ways(self, schema: Schema, alone: bool = False) -> list[Way]:
        """The ways of `schema`, for containers that satisfy it; `alone`: without the keyword about what is not evaluated."""
        found = self._ways.get(schema)
        if found is None:
            found = self._ways[schema] = self._find(schema, alone)
        return found

    def _find(self, schema: Schema, alone: bool) -> list[Way]:
        ways: list[Way] = [({}, _own(schema, self._part, alone))]
        voided = _is_voided(schema)
        always = [] if voided else [schema.subschema(contents) for contents in schema.get("allOf", ())]
        for below in (*always, *schema.targets):
            if not isinstance(below, bool):
                ways = self._all(ways, self.ways(below))
        if not voided:
            certain = ways[0][1] if len(ways) == 1 else self._nothing[1]
            for more in self._conditional(schema, certain):
                if any(evaluated != self._nothing[1] for _, evaluated in more):
                    ways = self._all(ways, more)
        return ways

    def _conditional(self, schema: Schema, certain: Any) -> Iterator[list[Way]]:
        """The ways of each keyword with branches, for containers that satisfy `schema`. What is `certain` is left out."""
        branches = schema.get("anyOf")
        if branches is not None:
            some: list[Way] = []
            for contents in branches:
                ways = self._beside(certain, self._branch(schema, contents))
                some = self._kept([*some, *ways, *self._product(some, ways)])
            yield some
        branches = schema.get("oneOf")
        if branches is not None:
            yield self._beside(certain, self._one_of(schema, branches))
        condition = schema.get("if")
        if condition is not None:
            yield self._beside(certain, self._if(schema, condition))
        if self._part == "object":
            for key, contents in schema.get("dependentSchemas", {}).items():
                present = leaf(ObjectShape(required=(key,)))
                yield [self._nothing, *self._beside(certain, self._branch(schema, contents, present))]

    def _beside(self, certain: Any, ways: list[Way]) -> list[Way]:
        return [(condition, self._nothing[1] if more <= certain else more) for condition, more in ways]

    def _one_of(self, schema: Schema, branches: Sequence[Any]) -> list[Way]:
        formulas = [self._formula(schema, contents) for contents in branches]
        once = self._algebra.each_once(_VIEWS[self._part], formulas, self._given(schema, "oneOf"))
        pairs = zip(branches, once, strict=True)
        return [way for contents, formula in pairs for way in self._branch(schema, contents, formula)]

    def _if(self, schema: Schema, condition: Any) -> list[Way]:
        then, otherwise = schema.get("then", True), schema.get("else", True)
        holds = self._all(self._branch(schema, condition), self._branch(schema, then))
        if then is True and otherwise is True:
            return [*holds, self._nothing]
        formula, known = self._formula(schema, condition), self._given(schema, "if")
        fails = self._algebra.without(_VIEWS[self._part], TRUE, formula, known)
        return [*holds, *self._branch(schema, otherwise, fails)]

    def _branch(self, schema: Schema, contents: Any, *conditions: Bool) -> list[Way]:
        """The ways of a subschema, each with the subschema itself and with `conditions`."""
        condition = all_of((*conditions, self._formula(schema, contents)))
        if condition is FALSE:
            return []
        below = schema.subschema(contents)
        ways = [self._nothing] if isinstance(below, bool) else self.ways(below)
        return self._all([(dict.fromkeys(_conjuncts(condition)), self._nothing[1])], ways)

    def _formula(self, schema: Schema, contents: Any) -> Bool:
        formula: Bool = getattr(self._algebra.value_of(schema.child(contents)), self._part)
        return formula

    def _given(self, schema: Schema, key: str) -> Bool:
        formula: Bool = getattr(schema.given[key], self._part)
        return formula

    # Combination

    def _all(self, ways: list[Way], others: list[Way]) -> list[Way]:
        """One way of each, together."""
        return self._kept(self._product(ways, others))

    def _product(self, ways: list[Way], others: list[Way]) -> list[Way]:
        self._check(len(ways) * len(others))
        return [(condition | further, evaluated | more) for condition, evaluated in ways for further, more in others]

    def _kept(self, ways: list[Way]) -> list[Way]:
        """`ways` without those that cannot hold, and those of which another says as much under weaker conditions."""
        self._check(len(ways))
        kept: list[int] = []
        for place in sorted(range(len(ways)), key=lambda place: len(ways[place][0])):
            way = ways[place]
            if not any(_covers(ways[other], way) for other in kept) and self._may_hold(way[0]):
                kept = [other for other in kept if not _covers(way, ways[other])] + [place]
        return [ways[place] for place in sorted(kept)]  # the order decides the order of properties

    def _check(self, count: int) -> None:
        if count > MAX_WAYS:
            hint, pointer = "use fewer alternatives that overlap", f"{self._schema.pointer}/{_KEYWORDS[self._part]}"
            what = "ways to evaluate one container"
            raise LimitExceeded("max_ways", count, MAX_WAYS, what=what, pointer=pointer, hint=hint)

    def _may_hold(self, condition: Condition) -> bool:
        key = frozenset(condition)
        found = self._possible.get(key)
        if found is None:
            formula = all_of((*self._known, *condition))
            found = self._possible[key] = not self._algebra.conflict(_VIEWS[self._part], formula)
        return found


def _covers(way: Way, other: Way) -> bool:
    """Whether `way` holds wherever `other` does, and says as much."""
    return way[0].keys() <= other[0].keys() and bool(other[1] <= way[1])


def _conjuncts(formula: Bool) -> tuple[Bool, ...]:
    if formula.kind == "and":
        return formula.args
    return () if formula is TRUE else (formula,)


def _implied(formula: Bool, condition: Condition) -> bool:
    """Whether `formula` plainly follows from what all holds in `condition`."""
    if formula in condition:
        return True
    if formula.kind != "or":
        return False
    alternatives = set(formula.args)
    return any(condition.keys() >= set(_conjuncts(one)) for one in alternatives) or any(
        one.kind == "or" and alternatives.issuperset(one.args) for one in condition
    )


def _merged(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(first + second)) if second else first
