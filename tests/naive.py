"""The slow oracle: which byte strings begin a text of a JSON Schema's language, decided on trees, without an automaton.

It shares no code and no method with the package. A prefix of a JSON text parses to one partial tree: complete values,
one open path, and the first bytes of an unfinished token at its tip. `Oracle.viable` asks whether that tree can be
completed to a valid value, by the definition of each keyword; `Oracle.member` asks it of the tree as it stands.

* Boolean structure: each subschema, or its negation, is multiplied out into alternatives (disjunctive normal form), one
  tuple of plain keyword dictionaries each (naive_logic.py). `enum` and `const` of containers become shapes, so scalars are
  all that is left of them.
* Counts (`contains`, "not all items are such"): of each child, all combinations of what is counted are tried, and the
  numbers that can come out are searched, child by child.
* Numbers: the values that a prefix can still become are half-open intervals; bounds and multiples are exact fractions.
* Strings: characters that no pattern, key or constant mentions are all alike, so one stands for all of them; patterns
  are nondeterministic automata (Thompson) walked by sets of states.
* `uniqueItems`: an item must not be a constant that an item before it is, which is a schema again. Where several items
  are still to come, each needs a constant of its own: all that the schema mentions and some others are tried (`_POOL`),
  and who can be none of these can be many others.
* Emptiness of what has not begun: depth-first, where a conjunction that contains itself is empty (least fixpoint).

Keywords: type, enum, const, allOf, anyOf, oneOf, not, if, then, else, dependentSchemas, dependentRequired, contains,
minContains, maxContains, uniqueItems (not negated, nor beside counts), $ref into the same document, properties,
patternProperties, required, additionalProperties, min/maxProperties, prefixItems, items, min/maxItems, pattern,
min/maxLength, multipleOf and the four bounds of numbers, as dialect 2020-12 defines them; but no negation of `integer` or
multipleOf, and which members are `named` is not looked up in branches other than allOf and anyOf. Any other keyword is not
looked at: do not use it with the oracle.
How a value may be written is in `Policy`, the order of members in `Order`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from naive_languages import NumberRange, Pattern, States, _step, number_fits
from naive_logic import AVOID, ITEMS, MEMBERS, SCALAR, Logic, Schema, Schemas, exactly, types_of
from naive_texts import (
    _LITERALS,
    _OUTSIDE_STRINGS,
    OTHER,
    OTHERS,
    Array,
    Literal,
    Node,
    Nothing,
    Number,
    Object,
    Policy,
    String,
    _end,
    _in_string,
    escaped_characters,
    next_characters,
    parse_prefix,
)

__all__ = ["Oracle"]

Tallies = set[tuple[int, ...]]


UNLIKE = "(unlike)"  # the keyword of scalars that the value must not be
_OF_ARRAYS = frozenset({"items", "prefixItems", "minItems", "maxItems", "contains"})
_OF_OBJECTS = frozenset(
    {"properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"}
)
_POOL: tuple[Any, ...] = (None, True, False, "", "a", "b", "ab", *range(-3, 14), 0.5, 1.5, 2.5, [], {})
_BLANK: tuple[Node, ...] = (
    Literal(""),
    Number("", False),
    String("", b"", False),
    Array((), False, False),
    Object((), None, False, False),
)


def _same_scalar(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _fraction(number: int | float) -> Fraction:
    return Fraction(repr(number))


def _value(node: Node) -> Any:
    """The JSON value of a node that is complete; Nothing() of another. Of members with one key the last counts."""
    match node:
        case Literal(text):
            return _LITERALS.get(text, Nothing())
        case Number(text, closed=True) if text[-1:].isdigit():
            number = Fraction(text)
            return int(number) if number.denominator == 1 else float(number)
        case String(chars, closed=True):
            return chars
        case Array(items, closed=True):
            return [_value(item) for item in items]
        case Object(members, closed=True):
            return {key: _value(value) for key, value in members}
        case _:
            return Nothing()


def _identity(value: Any) -> Any:
    """Equal only for equal JSON values."""
    if isinstance(value, list):
        return "array", tuple(map(_identity, value))
    if isinstance(value, dict):
        return "object", frozenset((key, _identity(item)) for key, item in value.items())
    return type(value) is bool, value is None, value


def _constants_in(schema: Any) -> Iterator[Any]:
    if isinstance(schema, dict):
        yield from schema.get("enum", ())
        yield from [schema["const"]] if "const" in schema else []
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _constants_in(child)


def _says(schema: Any, keyword: str) -> bool:
    if isinstance(schema, list):
        return any(_says(child, keyword) for child in schema)
    return isinstance(schema, dict) and (keyword in schema or any(_says(c, keyword) for c in schema.values()))


def _strings_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, str):
        yield schema
    elif isinstance(schema, dict):
        for key, value in schema.items():
            yield key
            yield from _strings_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _strings_in(value)


def _enough(bounds: tuple[int, float]) -> int:
    """The number from which on a count between `bounds` cannot change its mind."""
    low, high = bounds
    return int(low if high == math.inf else high + 1)


def _within(tally: tuple[int, ...], bounds: list[tuple[int, float]]) -> bool:
    return all(low <= number <= high for number, (low, high) in zip(tally, bounds, strict=True))


class Order:
    """Which of two members must come first.

    Attributes:
        lists: the keys of each `properties` and of each `required` (a constant object has both).
        names: the keys in them, each where it first appears.
        required: those in some `required`.
    """

    def __init__(self, applying: Iterable[dict[str, Any]]) -> None:
        schemas = [*applying]
        self.lists = [[*schema.get(keyword, ())] for schema in schemas for keyword in ("properties", "required")]
        self.names = [*dict.fromkeys(itertools.chain(*self.lists))]
        self.required = {key for schema in schemas for key in schema.get("required", ())}

    def before(self, one: str, other: str) -> bool:
        """Whether the member `one` may come before the member `other`."""
        if other not in self.names:
            return True
        if one not in self.names:
            return other not in self.required
        ways = {(keys.index(one) < keys.index(other)) for keys in self.lists if one in keys and other in keys}
        if ways != {False} or self.names.index(one) < self.names.index(other):
            return True
        return one in self.required and other not in self.required

    def allows(self, keys: Sequence[str], distinct: bool) -> bool:
        """Whether members may have these keys, one after the other; `distinct`: no key comes twice, named or not."""
        once = keys if distinct else [key for key in keys if key in self.names]
        return len({*once}) == len(once) and all(self.before(*two) for two in itertools.combinations(keys, 2))


@dataclass
class Oracle(Logic):
    """Decides the language of `schema` under `policy`.

    Objects: see `Order`. The lists that count are those of every subschema that applies to the object: its own first,
    then those of `const` and `enum`, `allOf`, `$ref` and `anyOf`. (Branches in which some `type`, `enum` or `const`
    admits no object at all have none, and neither does an `anyOf` with a branch that says nothing of objects.) No key
    comes twice.
    """

    schema: Schema
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        Logic.__init__(self)
        self._patterns: dict[str, Pattern] = {}
        self._known: dict[tuple[Any, ...], bool] = {}
        self._visiting: set[States] = set()
        self.mentioned = {c for text in _strings_in(self.schema) for c in text}
        self._compile_patterns(self.schema)
        for pattern in self._patterns.values():
            self.mentioned |= pattern.mentioned
        self.alphabet = [*sorted(self.mentioned), *OTHERS]
        self._compares = _says(self.schema, "uniqueItems")
        self._pool = {_identity(value): value for value in (*_POOL, *_constants_in(self.schema))}
        self._constants: dict[Any, Schema] = {}

    def _compile_patterns(self, schema: Any) -> None:
        if isinstance(schema, dict):
            texts = [*(schema.get("patternProperties") or ())]
            texts += [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
            for text in texts:
                self._patterns[text] = Pattern(text)
        for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            self._compile_patterns(child)

    # The questions

    def viable(self, prefix: bytes) -> bool:
        """Whether some text of the language begins with `prefix`."""
        node = parse_prefix(prefix, self.policy)
        return node is not None and self.completable(self._normal(node), (self.schema,), (self.schema,))

    def member(self, text: bytes) -> bool:
        """Whether `text` is in the language."""
        node = parse_prefix(text, self.policy)
        node = None if node is None or text[-1:] in (b" ", b"\n") else _end(node)
        return node is not None and self.completable(self._normal(node), (self.schema,), (self.schema,))

    def allowed(self, prefix: bytes, tokens: Iterable[bytes]) -> set[bytes]:
        """Those of `tokens` (none of them empty) after which `prefix` is still viable."""
        tokens, node = set(tokens), parse_prefix(prefix, self.policy)
        starts = {token[:1] for token in tokens}
        if node is not None and not _in_string(node):
            starts &= _OUTSIDE_STRINGS
        first = {byte: self.viable(prefix + byte) for byte in starts}
        return {t for t in tokens if first.get(t[:1]) and (len(t) == 1 or self.viable(prefix + t))}

    # Schemas

    def _parts(self, schema: dict[str, Any], kind: str, keywords: frozenset[str]) -> list[Schema]:
        """The schemas inside `schema` that apply to the same value of a kind, all branches; `keywords` constrain it."""
        parts = [value for values in self.constants(schema) for value in values]
        parts += schema.get("allOf", ())
        parts += [self.resolve(schema["$ref"])] if "$ref" in schema else []
        branches = schema.get("anyOf", ())
        return parts if any(self._takes_any(part, kind, keywords) for part in branches) else [*parts, *branches]

    def _takes_any(self, schema: Schema, kind: str, keywords: frozenset[str]) -> bool:
        """Whether one alternative of `schema` says nothing of a kind, so that an `anyOf` with it says nothing either."""
        return any(
            all(not keywords & part.keys() and kind in types_of(part) and SCALAR not in part for part in flat)
            for flat in self.flatten(schema)
        )

    def _applying(self, schema: Schema) -> Iterator[dict[str, Any]]:
        """Every dictionary that applies to the place of `schema` where an object stands, in whatever branch, but for
        those in branches that admit no object for its type alone."""
        if isinstance(schema, bool) or not any(
            all("object" in types_of(part) and SCALAR not in part for part in flat) for flat in self.flatten(schema)
        ):
            return
        yield schema
        for part in self._parts(schema, "object", _OF_OBJECTS):
            yield from self._applying(part)

    def order(self, place: Schemas) -> Order:
        """The order of the members of an object at `place`."""
        return Order(found for schema in place for found in self._applying(schema))

    def _of_key(self, schemas: Iterable[dict[str, Any]], key: str) -> Schemas:
        found = []
        for schema in schemas:
            named = key in schema.get("properties", ())
            matching = [s for p, s in schema.get("patternProperties", {}).items() if self._patterns[p].matches(key)]
            found += [schema["properties"][key]] if named else []
            found += matching
            if not named and not matching and "additionalProperties" in schema:
                found.append(schema["additionalProperties"])
        return tuple(found)

    @staticmethod
    def _of_index(schemas: Iterable[dict[str, Any]], index: int) -> Schemas:
        found = []
        for schema in schemas:
            prefix = schema.get("prefixItems", ())
            if index < len(prefix):
                found.append(prefix[index])
            elif "items" in schema:
                found.append(schema["items"])
        return tuple(found)

    def _applying_to_items(self, place: Schemas) -> list[dict[str, Any]]:
        """As `_applying`, for arrays."""
        found: list[dict[str, Any]] = []
        for schema in place:
            if isinstance(schema, bool) or "array" not in types_of(schema):
                continue
            found.append(schema)
            found += self._applying_to_items(tuple(self._parts(schema, "array", _OF_ARRAYS)))
        return found

    # Nodes

    def _normal(self, node: Node) -> Node:
        """`node` with every character that the schema does not mention replaced by OTHER, in values (keys stay).

        Where values are compared with each other, characters are what they are.
        """
        if self._compares:
            return node
        match node:
            case String():
                return node._replace(chars="".join(c if c in self.mentioned else OTHER for c in node.chars))
            case Array():
                return node._replace(items=tuple(map(self._normal, node.items)))
            case Object():
                return node._replace(members=tuple((key, self._normal(value)) for key, value in node.members))
            case _:
                return node

    def completable(self, node: Node, schemas: Schemas, place: Schemas) -> bool:
        """Whether `node` can become a value that satisfies all of `schemas`; `place`: all that apply there at all."""
        if isinstance(node, Nothing):
            return self.satisfiable(schemas)
        known = (node, tuple(map(id, schemas)), tuple(map(id, place)))
        if known not in self._known:
            alternatives = itertools.product(*map(self.flatten, schemas))
            self._known[known] = any(self._fits(node, sum(flat, ()), place) for flat in alternatives)
        return self._known[known]

    def satisfiable(self, schemas: Schemas) -> bool:
        """Whether some value satisfies all of `schemas`."""
        known = frozenset(map(id, schemas))
        if known in self._visiting:
            return False
        if (known,) not in self._known:
            self._visiting.add(known)
            alternatives = list(itertools.product(*map(self.flatten, schemas)))
            found = any(self._fits(node, sum(flat, ()), schemas) for flat in alternatives for node in _BLANK)
            self._visiting.remove(known)
            if not found and self._visiting:
                return False  # perhaps only because of what is being visited
            self._known[(known,)] = found
        return self._known[(known,)]

    def _fits(self, node: Node, flat: Schemas, place: Schemas) -> bool:
        match node:
            case Literal(text):
                return any(
                    word.startswith(text) and self._literal_fits(value, flat) for word, value in _LITERALS.items()
                )
            case Number():
                return self._number_fits(node, flat)
            case String():
                return self._string_fits(node, flat)
            case Array():
                return self._array_fits(node, flat, place)
            case Object():
                return self._object_fits(node, flat, place)
            case _:
                raise AssertionError(node)

    @staticmethod
    def _literal_fits(value: Any, flat: Schemas) -> bool:
        name = "null" if value is None else "boolean"
        return all(
            name in types_of(schema)
            and (SCALAR not in schema or _same_scalar(schema[SCALAR], value))
            and not any(_same_scalar(value, other) for other in schema.get(UNLIKE, ()))
            for schema in flat
        )

    def _number_fits(self, node: Number, flat: Schemas) -> bool:
        allowed = NumberRange()
        for schema in flat:
            types = types_of(schema)
            if "number" not in types:
                if "integer" not in types:
                    return False
                allowed.multiple_of(Fraction(1))
            if SCALAR in schema:
                value = schema[SCALAR]
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return False
                allowed.at_least(_fraction(value))
                allowed.at_most(_fraction(value))
            if "multipleOf" in schema:
                allowed.multiple_of(_fraction(schema["multipleOf"]))
            if "minimum" in schema:
                allowed.at_least(_fraction(schema["minimum"]))
            if "exclusiveMinimum" in schema:
                allowed.at_least(_fraction(schema["exclusiveMinimum"]), strict=True)
            if "maximum" in schema:
                allowed.at_most(_fraction(schema["maximum"]))
            if "exclusiveMaximum" in schema:
                allowed.at_most(_fraction(schema["exclusiveMaximum"]), strict=True)
        unlike = {_fraction(v) for s in flat for v in s.get(UNLIKE, ()) if type(v) in (int, float)}
        bounds = [None, *sorted(unlike), None]
        for low, high in itertools.pairwise(bounds):
            between = replace(allowed)
            if low is not None:
                between.at_least(low, strict=True)
            if high is not None:
                between.at_most(high, strict=True)
            if number_fits(node.text, node.closed, between, self.policy.exponents):
                return True
        return False

    def _next_characters(self, tip: bytes) -> list[str]:
        """The characters, up to those that are alike, whose spelling begins with `tip`."""
        if tip[0] != 0x5C:
            return next_characters(tip, self.mentioned)
        return escaped_characters(tip, self.mentioned, self.policy)

    def _completions(
        self, node: String, patterns: list[Pattern], watched: frozenset[str]
    ) -> Iterator[tuple[str, list[bool]]]:
        """Strings that `node` can become, with what each pattern says of them: at least one for each combination of
        what the patterns say and of which of the `watched` strings it is. Shortest first."""
        states = tuple(pattern.after(node.chars) for pattern in patterns)
        open_ = [(node.chars, states)]
        if node.tip:
            following = self._next_characters(node.tip)
            open_ = [(node.chars + char, _step(patterns, states, char)) for char in following]
        seen = set()
        while open_:
            later = []
            for text, states in open_:
                beginning = text if any(w.startswith(text) for w in watched) else None
                if (beginning, *states) in seen:
                    continue
                seen.add((beginning, *states))
                yield text, [p.accepts(s, not text) for p, s in zip(patterns, states, strict=True)]
                if not node.closed:
                    later += [(text + char, _step(patterns, states, char)) for char in self.alphabet]
            open_ = later

    def _string_fits(self, node: String, flat: Schemas) -> bool:
        if any("string" not in types_of(schema) for schema in flat):
            return False
        constants = [schema[SCALAR] for schema in flat if SCALAR in schema]
        if not all(isinstance(c, str) and c == constants[0] for c in constants):
            return False
        if any(constant in schema.get(UNLIKE, ()) for constant in constants for schema in flat):
            return False
        low = max((schema.get("minLength", 0) for schema in flat), default=0)
        high = min((schema.get("maxLength", math.inf) for schema in flat), default=math.inf)
        patterns = [self._patterns[schema["pattern"]] for schema in flat if "pattern" in schema]
        avoided = [self._pattern(schema[AVOID]) for schema in flat if AVOID in schema]
        if constants:
            text = constants[0]
            if not (low <= len(text) <= high and all(pattern.matches(text) for pattern in patterns)) or any(
                pattern.matches(text) for pattern in avoided
            ):
                return False
            begun = len(node.chars)
            if node.closed or text == node.chars:
                return text == node.chars and not node.tip
            return text.startswith(node.chars) and (not node.tip or text[begun] in self._next_characters(node.tip))
        if low > high:
            return False
        begun = len(node.chars) + bool(node.tip)
        unlike = {v for s in flat for v in s.get(UNLIKE, ()) if isinstance(v, str) and v.startswith(node.chars)}
        avoided += [self._pattern(exactly(text)) for text in sorted(unlike)]
        if not patterns and not avoided:
            return begun <= high and (not node.closed or begun >= low)
        patterns.append(self._pattern(f"^[^]{{{low},{'' if high == math.inf else high}}}$"))
        wanted = (True,) * len(patterns) + (False,) * len(avoided)
        patterns += avoided
        if node.closed:
            return all(pattern.matches(node.chars) == want for pattern, want in zip(patterns, wanted, strict=True))
        states = tuple(pattern.after(node.chars) for pattern in patterns)
        if not node.tip:
            return self._can_match(patterns, wanted, states, not node.chars)
        following = self._next_characters(node.tip)
        return any(self._can_match(patterns, wanted, _step(patterns, states, char)) for char in following)

    def _pattern(self, text: str) -> Pattern:
        if text not in self._patterns:
            self._patterns[text] = Pattern(text)
        return self._patterns[text]

    def _can_match(
        self, patterns: list[Pattern], wanted: tuple[bool, ...], states: tuple[States, ...], at_start: bool = False
    ) -> bool:
        """Whether some text leads all `patterns` from their `states` to a match, or those not `wanted` to none."""
        known = (*map(id, patterns), wanted, *states, at_start)
        if known not in self._known:
            open_, seen, found = [states], {states}, False
            while open_ and not found:
                found = any(
                    all(p.accepts(s, at_start) == want for p, s, want in zip(patterns, one, wanted, strict=True))
                    for one in open_
                )
                after = {_step(patterns, one, char) for one in open_ for char in self.alphabet}
                open_, at_start = [one for one in after if one not in seen], False
                seen |= after
            self._known[known] = found
        return self._known[known]

    def _array_fits(self, node: Array, flat: Schemas, place: Schemas) -> bool:
        if any("array" not in types_of(schema) or SCALAR in schema for schema in flat):
            return False
        wheres = self._applying_to_items(place)
        counts = [schema[ITEMS] for schema in flat if ITEMS in schema]
        counts += [
            (0, schema["contains"], schema.get("minContains", 1), schema.get("maxContains", math.inf))
            for schema in flat
            if "contains" in schema
        ]
        if counts:
            if any(schema.get("uniqueItems") for schema in flat):
                raise NotImplementedError("unique items that are counted")
            return self._counted_items_fit(node, flat, wheres, counts)
        if any(schema.get("uniqueItems") for schema in flat):
            return self._unlike_items_fit(node, flat, wheres)
        for index, item in enumerate(node.items):
            if not self.completable(item, self._of_index(flat, index), self._of_index(wheres, index)):
                return False
        count = len(node.items)
        low = max((schema.get("minItems", 0) for schema in flat), default=0)
        high = min((schema.get("maxItems", math.inf) for schema in flat), default=math.inf)
        least = max(low, count + node.comma)
        if node.closed and least > count or least > high:
            return False
        return all(self.satisfiable(self._of_index(flat, index)) for index in range(count, least))

    def _unlike_items_fit(self, node: Array, flat: Schemas, wheres: list[dict[str, Any]]) -> bool:
        values = [_value(item) for item in node.items]
        if values and isinstance(values[-1], Nothing):
            values.pop()
        used = {_identity(value): value for value in values}
        count, done = len(node.items), len(values)
        if len(used) < done:
            return False
        for index in range(done):
            if not self.completable(node.items[index], self._of_index(flat, index), self._of_index(wheres, index)):
                return False
        low = max((schema.get("minItems", 0) for schema in flat), default=0)
        high = min((schema.get("maxItems", math.inf) for schema in flat), default=math.inf)
        least = max(low, count + node.comma)
        if node.closed and least > count or least > high:
            return False
        missing = [(node.items[i] if i < count else Nothing(), i) for i in range(done, least)]
        choices = []
        for item, index in missing:
            asked, place = self._of_index(flat, index), self._of_index(wheres, index)
            if len(missing) == 1:
                return self.completable(item, (*asked, self._unlike(used)), place)
            known = {**used, **self._pool}
            if not self.completable(item, (*asked, self._unlike(known)), place):
                pool = [key for key in self._pool if key not in used]
                choices.append([k for k in pool if self.completable(item, (*asked, self._like(known[k])), place)])
        return any(len(set(chosen)) == len(chosen) for chosen in itertools.product(*choices))

    def _like(self, value: Any) -> Schema:
        return self._constants.setdefault(_identity(value), {"const": value})

    def _unlike(self, values: dict[Any, Any]) -> Schema:
        """None of `values`, which are given by identity."""
        key = "unlike", frozenset(values)
        if key not in self._constants:
            scalars = tuple(value for value in values.values() if not isinstance(value, list | dict))
            others = [self._like(value) for value in values.values() if isinstance(value, list | dict)]
            self._constants[key] = {UNLIKE: scalars, "allOf": list(map(self.opposite, others))}
        return self._constants[key]

    def _counted_items_fit(
        self, node: Array, flat: Schemas, wheres: list[dict[str, Any]], counts: list[tuple[int, Schema, int, float]]
    ) -> bool:
        bounds = [(low, high) for _, _, low, high in counts]
        found: Tallies = {(0,) * len(counts)}
        low = max((schema.get("minItems", 0) for schema in flat), default=0)
        high = min((schema.get("maxItems", math.inf) for schema in flat), default=math.inf)
        low = max(low, len(node.items) + node.comma)
        alike = max([low, *(start for start, *_ in counts), *(len(schema.get("prefixItems", ())) for schema in flat)])
        last = len(node.items) if node.closed else alike + sum(map(_enough, bounds))
        for index in itertools.count():
            if index >= len(node.items) and low <= index <= high and any(_within(tally, bounds) for tally in found):
                return True
            if not found or index >= min(last, high):
                return False
            item = node.items[index] if index < len(node.items) else Nothing()
            asked, place = self._of_index(flat, index), self._of_index(wheres, index)
            children = [schema if index >= start else None for start, schema, _, _ in counts]
            found = self._tallies(found, item, asked, place, children, bounds)
        raise AssertionError

    def _tallies(
        self,
        before: Tallies,
        node: Node,
        asked: Schemas,
        place: Schemas,
        children: list[Schema | None],
        bounds: list[Any],
    ) -> Tallies:
        """What the counts may be after one more child, where `children[i]` says whether it adds to count i."""
        found: Tallies = set()
        for truth in itertools.product((False, True), repeat=len(children)):
            if any(yes and child is None for yes, child in zip(truth, children, strict=True)):
                continue
            told = [
                child if yes else self.opposite(child)
                for yes, child in zip(truth, children, strict=True)
                if child is not None
            ]
            if self.completable(node, (*asked, *told), (*place, *told)):
                found |= {
                    tuple(min(n + yes, _enough(b)) for n, yes, b in zip(tally, truth, bounds, strict=True))
                    for tally in before
                }
        return found

    def _object_fits(self, node: Object, flat: Schemas, place: Schemas) -> bool:
        if any("object" not in types_of(schema) or SCALAR in schema for schema in flat):
            return False
        order = self.order(place)
        wheres = [found for schema in place for found in self._applying(schema)]
        keys = [key for key, _ in node.members]
        if not self._ordered(keys, order):
            return False
        counts = [schema[MEMBERS] for schema in flat if MEMBERS in schema]
        if counts:
            return self._counted_members_fit(node, flat, wheres, order, counts)
        for key, value in node.members:
            if not self.completable(value, self._of_key(flat, key), self._of_key(wheres, key)):
                return False
        if node.key is not None:
            return any(
                self._ordered([*keys, key], order)
                and self.satisfiable(self._of_key(flat, key))
                and self._can_finish([*keys, key], flat, order)
                for key in self._possible_keys(node.key, keys, flat, order.names)
            )
        if node.closed:
            return self._is_finished(keys, flat)
        return self._can_finish(keys, flat, order, more=node.comma)

    def _possible_keys(self, begun: String, keys: list[str], flat: Schemas, named: list[str]) -> Iterator[str]:
        """Keys that `begun` can become, at least one of each sort."""
        patterns = [self._patterns[p] for schema in flat for p in schema.get("patternProperties", ())]
        counts = [schema[MEMBERS] for schema in flat if MEMBERS in schema]
        patterns += [self._patterns[p] for pattern, _, more, *_ in counts for p in (pattern, *more) if p is not None]
        required = [key for schema in flat for key in schema.get("required", ())]
        yield from (key for key, _ in self._completions(begun, patterns, frozenset([*named, *keys, *required])))

    def _counted_members_fit(
        self, node: Object, flat: Schemas, wheres: list[dict[str, Any]], order: Order, counts: list[Any]
    ) -> bool:
        bounds = [(low, high) for *_, low, high in counts]

        def add(before: Tallies, key: str, value: Node) -> Tallies:
            children = [schema if self._speaks_of(count, key) else None for count in counts for schema in (count[3],)]
            return self._tallies(before, value, self._of_key(flat, key), self._of_key(wheres, key), children, bounds)

        keys, found = [key for key, _ in node.members], {(0,) * len(counts)}
        for key, value in node.members:
            found = add(found, key, value)
        if node.key is not None:
            return any(
                self._ordered([*keys, key], order)
                and self._counts_can_finish([*keys, key], add(found, key, Nothing()), flat, order, add, bounds)
                for key in self._possible_keys(node.key, keys, flat, order.names)
            )
        if node.closed:
            return self._is_finished(keys, flat) and any(_within(tally, bounds) for tally in found)
        return self._counts_can_finish(keys, found, flat, order, add, bounds, more=node.comma)

    def _speaks_of(self, count: Any, key: str) -> bool:
        pattern, named, patterns, *_ = count
        if pattern is not None:
            return self._patterns[pattern].matches(key)
        return key not in named and not any(self._patterns[p].matches(key) for p in patterns)

    def _counts_can_finish(
        self,
        keys: list[str],
        found: Tallies,
        flat: Schemas,
        order: Order,
        add: Callable[[Tallies, str, Node], Tallies],
        bounds: list[Any],
        more: bool = False,
    ) -> bool:
        """As `_can_finish`, where the members so far may have led to any of the counts `found`. Of other keys of one sort
        there are taken to be enough."""
        lacking = {k for schema in flat for k in schema.get("required", ()) if k not in keys}
        if not all(self._ordered([*keys, key], order) for key in lacking):
            return False
        low = max((schema.get("minProperties", 0) for schema in flat), default=0)
        high = min((schema.get("maxProperties", math.inf) for schema in flat), default=math.inf)
        low = max(low, len(keys) + more)
        after = {len(keys): found}  # by the number of members
        for key in dict.fromkeys([*order.names, *sorted(lacking)]):
            if not self._ordered([*keys, key], order):
                continue
            longer = {number + 1: add(tallies, key, Nothing()) for number, tallies in after.items()}
            if key in lacking:
                after = longer
            else:
                after = {n: after.get(n, set()) | longer.get(n, set()) for n in {*after, *longer}}
        others = [k for k in self._possible_keys(String("", b"", False), [], flat, order.names) if k not in order.names]
        for number in range(min(after), max(low, *after) + sum(map(_enough, bounds)) + 1):
            tallies = after.get(number, set())
            if low <= number <= high and any(_within(tally, bounds) for tally in tallies):
                return True
            for key in others:
                after[number + 1] = after.get(number + 1, set()) | add(tallies, key, Nothing())
        return False

    def _can_finish(self, keys: list[str], flat: Schemas, order: Order, more: bool = False) -> bool:
        """Whether an object with these `keys` so far (and one more at least) can be given the members it lacks."""
        lacking = [k for k in dict.fromkeys(k for schema in flat for k in schema.get("required", ())) if k not in keys]
        free = [key for key in order.names if key not in lacking and self._ordered([*keys, key], order)]
        if not all(self._ordered([*keys, key], order) for key in lacking):
            return False
        if not all(self.satisfiable(self._of_key(flat, key)) for key in lacking):
            return False
        low = max((schema.get("minProperties", 0) for schema in flat), default=0)
        high = min((schema.get("maxProperties", math.inf) for schema in flat), default=math.inf)
        count = len(keys) + len(lacking)
        wanted = max(low, len(keys) + more) - count
        if count + max(wanted, 0) > high:
            return False
        if wanted > 0:
            wanted -= sum(self.satisfiable(self._of_key(flat, key)) for key in free)
        return wanted <= 0 or self._other_keys(wanted, {*order.names, *(keys if self.policy.distinct else ())}, flat)

    def _other_keys(self, wanted: int, taken: set[str], flat: Schemas) -> bool:
        """Whether `wanted` more keys, none of those `taken`, can be added."""
        taken, blank = set(taken), String("", b"", False)
        for _ in range(wanted):
            possible = self._possible_keys(blank, [*taken], flat, [])
            new = next((k for k in possible if k not in taken and self.satisfiable(self._of_key(flat, k))), None)
            if new is None:
                return False
            if self.policy.distinct:
                taken.add(new)
        return True

    def _is_finished(self, keys: list[str], flat: Schemas) -> bool:
        return all(
            set(keys) >= set(schema.get("required", ()))
            and schema.get("minProperties", 0) <= len(keys) <= schema.get("maxProperties", math.inf)
            for schema in flat
        )

    def _ordered(self, keys: list[str], order: Order) -> bool:
        return order.allows(keys, self.policy.distinct)
