"""The slow oracle: which byte strings begin a text of a JSON Schema's language, decided on trees, without an automaton.

It shares no code and no method with the package. A prefix of a JSON text parses to one partial tree: complete values,
one open path, and the first bytes of an unfinished token at its tip. `Oracle.viable` asks whether that tree can be
completed to a valid value, by the definition of each keyword; `Oracle.member` asks it of the tree as it stands.

* Boolean structure: each subschema is multiplied out into alternatives (disjunctive normal form), one tuple of plain
  keyword dictionaries each. `enum` and `const` of containers become shapes, so scalars are all that is left of them.
* Numbers: the values that a prefix can still become are half-open intervals; bounds and multiples are exact fractions.
* Strings: characters that no pattern, key or constant mentions are all alike, so one stands for all of them; patterns
  are nondeterministic automata (Thompson) walked by sets of states.
* Emptiness of what has not begun: depth-first, where a conjunction that contains itself is empty (least fixpoint).

Keywords: type, enum, const, allOf, anyOf, $ref into the same document, properties, patternProperties, required,
additionalProperties, min/maxProperties, prefixItems, items, min/maxItems, pattern, min/maxLength, multipleOf and the four
bounds of numbers, as dialect 2020-12 defines them. Any other keyword is not looked at: do not use it with the oracle.
How a value may be written is in `Policy`, the order of members in `Oracle`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from naive_languages import NumberRange, Pattern, States, _step, number_fits
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


Schema = Any  # a boolean or a dictionary
Schemas = tuple[Schema, ...]  # their conjunction
_SCALAR = "(scalar)"  # the keyword of a desugared `const` that is no container
_TYPES = ("null", "boolean", "number", "string", "array", "object")
_OF_ARRAYS = frozenset({"items", "prefixItems", "minItems", "maxItems"})
_OF_OBJECTS = frozenset(
    {"properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"}
)
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


def _types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    found = schema.get("type", _TYPES)
    return (found,) if isinstance(found, str) else tuple(found)


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


@dataclass
class Oracle:
    """Decides the language of `schema` under `policy`.

    Objects: a key that `properties` or `required` (or a constant object) of any subschema names that applies to the
    object has its place: a subschema's own keys first, `properties` before `required`, then those of `const` and
    `enum`, `allOf`, `$ref` and `anyOf`, each where it first appears. (Branches in which some `type`, `enum` or `const`
    admits no object at all name none, and neither does an `anyOf` with a branch that says nothing of objects.) Members
    come in that order, then all others in any order; no key comes twice.
    """

    schema: Schema
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self._flat: dict[int, list[Schemas]] = {}
        self._sugar: dict[int, Schemas] = {}
        self._alive: list[Any] = []  # schemas are told apart by id(), so none may be freed
        self._patterns: dict[str, Pattern] = {}
        self._known: dict[tuple[Any, ...], bool] = {}
        self._visiting: set[States] = set()
        self.mentioned = {c for text in _strings_in(self.schema) for c in text}
        self._compile_patterns(self.schema)
        for pattern in self._patterns.values():
            self.mentioned |= pattern.mentioned
        self.alphabet = [*sorted(self.mentioned), *OTHERS]

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

    def _resolve(self, reference: str) -> Schema:
        found = self.schema
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found

    def _constants(self, schema: dict[str, Any]) -> list[Schemas]:
        """The constants of `enum` and of `const` as schemas; one tuple of alternatives a keyword."""
        if id(schema) not in self._sugar:
            groups = [[schema["const"]]] if "const" in schema else []
            groups += [schema["enum"]] if "enum" in schema else []
            self._sugar[id(schema)] = tuple(tuple(map(self._as_schema, values)) for values in groups)
        return list(self._sugar[id(schema)])

    def _as_schema(self, value: Any) -> Schema:
        schema: dict[str, Any]
        if isinstance(value, list):
            schema = {"type": "array", "items": False, "minItems": len(value)}
            schema["prefixItems"] = [{"const": item} for item in value]
        elif isinstance(value, dict):
            schema = {"type": "object", "additionalProperties": False, "required": list(value)}
            schema["properties"] = {key: {"const": item} for key, item in value.items()}
        else:
            schema = {_SCALAR: value}
        self._alive.append(schema)
        return schema

    def _flatten(self, schema: Schema) -> list[Schemas]:
        """The alternatives of `schema`: conjunctions of dictionaries, of which only plain keywords count."""
        if schema is True:
            return [()]
        if schema is False:
            return []
        if id(schema) not in self._flat:
            choices = [[(schema,)]]
            choices += [self._flatten(part) for part in schema.get("allOf", ())]
            if "$ref" in schema:
                choices.append(self._flatten(self._resolve(schema["$ref"])))
            if "anyOf" in schema:
                choices.append([flat for part in schema["anyOf"] for flat in self._flatten(part)])
            for values in self._constants(schema):
                choices.append([flat for value in values for flat in self._flatten(value)])
            self._flat[id(schema)] = [sum(choice, ()) for choice in itertools.product(*choices)]
        return self._flat[id(schema)]

    def _parts(self, schema: dict[str, Any], kind: str, keywords: frozenset[str]) -> list[Schema]:
        """The schemas inside `schema` that apply to the same value of a kind, all branches; `keywords` constrain it."""
        parts = [value for values in self._constants(schema) for value in values]
        parts += schema.get("allOf", ())
        parts += [self._resolve(schema["$ref"])] if "$ref" in schema else []
        branches = schema.get("anyOf", ())
        return parts if any(self._takes_any(part, kind, keywords) for part in branches) else [*parts, *branches]

    def _takes_any(self, schema: Schema, kind: str, keywords: frozenset[str]) -> bool:
        """Whether one alternative of `schema` says nothing of a kind, so that an `anyOf` with it says nothing either."""
        return any(
            all(not keywords & part.keys() and kind in _types_of(part) and _SCALAR not in part for part in flat)
            for flat in self._flatten(schema)
        )

    def _applying(self, schema: Schema) -> Iterator[dict[str, Any]]:
        """Every dictionary that applies to the place of `schema` where an object stands, in whatever branch, but for
        those in branches that admit no object for its type alone."""
        if isinstance(schema, bool) or not any(
            all("object" in _types_of(part) and _SCALAR not in part for part in flat) for flat in self._flatten(schema)
        ):
            return
        yield schema
        for part in self._parts(schema, "object", _OF_OBJECTS):
            yield from self._applying(part)

    def order(self, place: Schemas) -> list[str]:
        """The named members of an object at `place`, in their order."""
        applying = [found for schema in place for found in self._applying(schema)]
        return list(dict.fromkeys(k for s in applying for k in (*s.get("properties", ()), *s.get("required", ()))))

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
            if isinstance(schema, bool) or "array" not in _types_of(schema):
                continue
            found.append(schema)
            found += self._applying_to_items(tuple(self._parts(schema, "array", _OF_ARRAYS)))
        return found

    # Nodes

    def _normal(self, node: Node) -> Node:
        """`node` with every character that the schema does not mention replaced by OTHER, in values (keys stay)."""
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
            alternatives = itertools.product(*map(self._flatten, schemas))
            self._known[known] = any(self._fits(node, sum(flat, ()), place) for flat in alternatives)
        return self._known[known]

    def satisfiable(self, schemas: Schemas) -> bool:
        """Whether some value satisfies all of `schemas`."""
        known = frozenset(map(id, schemas))
        if known in self._visiting:
            return False
        if (known,) not in self._known:
            self._visiting.add(known)
            alternatives = list(itertools.product(*map(self._flatten, schemas)))
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
            name in _types_of(schema) and (_SCALAR not in schema or _same_scalar(schema[_SCALAR], value))
            for schema in flat
        )

    def _number_fits(self, node: Number, flat: Schemas) -> bool:
        allowed = NumberRange()
        for schema in flat:
            types = _types_of(schema)
            if "number" not in types:
                if "integer" not in types:
                    return False
                allowed.multiple_of(Fraction(1))
            if _SCALAR in schema:
                value = schema[_SCALAR]
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
        return number_fits(node.text, node.closed, allowed, self.policy.exponents)

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
        if any("string" not in _types_of(schema) for schema in flat):
            return False
        constants = [schema[_SCALAR] for schema in flat if _SCALAR in schema]
        if not all(isinstance(c, str) and c == constants[0] for c in constants):
            return False
        low = max((schema.get("minLength", 0) for schema in flat), default=0)
        high = min((schema.get("maxLength", math.inf) for schema in flat), default=math.inf)
        patterns = [self._patterns[schema["pattern"]] for schema in flat if "pattern" in schema]
        if constants:
            text = constants[0]
            if not (low <= len(text) <= high and all(pattern.matches(text) for pattern in patterns)):
                return False
            begun = len(node.chars)
            if node.closed or text == node.chars:
                return text == node.chars and not node.tip
            return text.startswith(node.chars) and (not node.tip or text[begun] in self._next_characters(node.tip))
        if low > high:
            return False
        begun = len(node.chars) + bool(node.tip)
        if not patterns:
            return begun <= high and (not node.closed or begun >= low)
        bounds = f"^[^]{{{low},{'' if high == math.inf else high}}}$"
        if bounds not in self._patterns:
            self._patterns[bounds] = Pattern(bounds)
        patterns.append(self._patterns[bounds])
        if node.closed:
            return all(pattern.matches(node.chars) for pattern in patterns)
        states = tuple(pattern.after(node.chars) for pattern in patterns)
        if not node.tip:
            return self._can_match(patterns, states, not node.chars)
        following = self._next_characters(node.tip)
        return any(self._can_match(patterns, _step(patterns, states, char)) for char in following)

    def _can_match(self, patterns: list[Pattern], states: tuple[States, ...], at_start: bool = False) -> bool:
        """Whether some text leads all `patterns` from their `states` to a match."""
        known = (*map(id, patterns), *states, at_start)
        if known not in self._known:
            open_, seen, found = [states], {states}, False
            while open_ and not found:
                found = any(all(p.accepts(s, at_start) for p, s in zip(patterns, one, strict=True)) for one in open_)
                after = {_step(patterns, one, char) for one in open_ for char in self.alphabet if all(one)}
                open_, at_start = [one for one in after if one not in seen], False
                seen |= after
            self._known[known] = found
        return self._known[known]

    def _array_fits(self, node: Array, flat: Schemas, place: Schemas) -> bool:
        if any("array" not in _types_of(schema) or _SCALAR in schema for schema in flat):
            return False
        wheres = self._applying_to_items(place)
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

    def _object_fits(self, node: Object, flat: Schemas, place: Schemas) -> bool:
        if any("object" not in _types_of(schema) or _SCALAR in schema for schema in flat):
            return False
        named = self.order(place)
        wheres = [found for schema in place for found in self._applying(schema)]
        keys = [key for key, _ in node.members]
        if not self._ordered(keys, named):
            return False
        for key, value in node.members:
            if not self.completable(value, self._of_key(flat, key), self._of_key(wheres, key)):
                return False
        if node.key is not None:
            return any(
                self._ordered([*keys, key], named)
                and self.satisfiable(self._of_key(flat, key))
                and self._can_finish([*keys, key], flat, named)
                for key in self._possible_keys(node.key, keys, flat, named)
            )
        if node.closed:
            return self._is_finished(keys, flat)
        return self._can_finish(keys, flat, named, more=node.comma)

    def _possible_keys(self, begun: String, keys: list[str], flat: Schemas, named: list[str]) -> Iterator[str]:
        """Keys that `begun` can become, at least one of each sort."""
        patterns = [self._patterns[p] for schema in flat for p in schema.get("patternProperties", ())]
        required = [key for schema in flat for key in schema.get("required", ())]
        yield from (key for key, _ in self._completions(begun, patterns, frozenset([*named, *keys, *required])))

    def _can_finish(self, keys: list[str], flat: Schemas, named: list[str], more: bool = False) -> bool:
        """Whether an object with these `keys` so far (and one more at least) can be given the members it lacks."""
        lacking = [k for k in dict.fromkeys(k for schema in flat for k in schema.get("required", ())) if k not in keys]
        free = [k for k in named if k not in lacking and self._ordered([*keys, k], named)]
        if not self._ordered(
            [*keys, *sorted(lacking, key=lambda k: named.index(k) if k in named else len(named))], named
        ):
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
        return wanted <= 0 or self._other_keys(wanted, {*named, *(keys if self.policy.distinct else ())}, flat)

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

    def _ordered(self, keys: list[str], named: list[str]) -> bool:
        """Whether `keys` are distinct, those `named` in their order and before all others."""
        ranks = [named.index(key) if key in named else len(named) for key in keys]
        others = keys[sum(rank < len(named) for rank in ranks) :] if self.policy.distinct else []
        return len(set(others)) == len(others) and all(
            a < b or a == b == len(named) for a, b in itertools.pairwise(ranks)
        )
