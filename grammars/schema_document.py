"""One schema being loaded: every subschema that can be reached, checked at once and expanded when asked for.

Loading visits each reachable subschema once, with one table look-up a keyword (schema_keywords). Nothing is expanded
then, but for the schemas that negate something (`not`, `oneOf`, `if`) or restrict what is not evaluated: whether that
stays within the budgets shows only in its expansion, and a schema that cannot be enforced is refused while it is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from maskwright.grammars import boolean, formats, numbers, regex, regular
from maskwright.grammars.boolean import FALSE, TRUE, Bool
from maskwright.grammars.errors import GrammarError, InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.ir import Value
from maskwright.grammars.number_sets import NumberSets
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex
from maskwright.grammars.schema_arrays import array_shape
from maskwright.grammars.schema_constants import constants
from maskwright.grammars.schema_keywords import (
    ANY_TYPE,
    ARRAY,
    ARRAYS,
    INTEGER,
    LOGIC,
    NUMBER,
    NUMBERS,
    OBJECT,
    OBJECTS,
    REFERENCE,
    STRING,
    STRINGS,
    VALUES,
)
from maskwright.grammars.schema_logic import combined
from maskwright.grammars.schema_numbers import number_language
from maskwright.grammars.schema_objects import object_shape
from maskwright.grammars.schema_references import References, Scope
from maskwright.grammars.schema_strings import string_language
from maskwright.grammars.stopwatch import tick
from maskwright.grammars.values import Algebra, Pending

__all__ = ["Document", "Schema"]

_NEEDING = ("minItems", "contains", "required", "minProperties")  # what the empty array or object may lack
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_PLAIN_BOUND = 10**15
MAX_SAME_INSTANCE_DEPTH = 100  # allOf in anyOf in $ref in ... before any child is reached


class Schema:
    """One subschema: the leaf of the IR's child expressions (see ir.Schema). Compared by identity.

    Attributes:
        document: what is shared with the other subschemas.
        scope: the dialect it is read in and where its references lead.
        contents: the JSON object.
        pointer: where it stands: "" is the root, "URI#…" a place in another document.
        types: the JSON types that `type` leaves, as bits of schema_keywords.
        families: the families of keywords that occur and matter.
        targets: where `$ref`, `$dynamicRef` and `$recursiveRef` lead.
        here: (keyword, schema) of the subschemas of the same instance.
        given: of `oneOf`, `not` and `if`, the values that the keywords before them admit, once expanded; kept where the
            document restricts what is not evaluated.
    """

    # Defaults that most schemas never change, on the class: there may be 100,000 of them to make.
    types: int = ANY_TYPE
    families: int = 0
    targets: tuple[Schema | bool, ...] = ()
    here: list[tuple[str, Schema]] | None = None
    given: Mapping[str, Value] = MappingProxyType({})
    _value: Value | None = None
    _pending: bool = False

    def __init__(self, document: Document, scope: Scope, contents: dict[str, Any], pointer: str) -> None:
        self.document, self.scope, self.contents, self.pointer = document, scope, contents, pointer

    def __repr__(self) -> str:
        return f"<{self.pointer or '#'}>"

    @property
    def certain(self) -> bool:
        """Whether some value satisfies it for sure, seen without expanding it: the empty array or object, or some scalar."""
        types, families, contents = self.types, self.families, self.contents
        if families & (LOGIC | REFERENCE) or self.here:
            return False
        if families & VALUES:
            texts = types & STRING and not families & STRINGS and "const" not in contents
            return bool(texts) and any(isinstance(member, str) for member in contents["enum"])
        if types & 7 or (types & STRING and (not families & STRINGS or _has_some_length(contents))):
            return True
        if types & (NUMBER | INTEGER) and (not families & NUMBERS or _has_one_bound(contents)):
            return True
        return bool(types & (ARRAY | OBJECT)) and not any(contents.get(key) for key in _NEEDING)

    # What the checkers of schema_keywords call

    def check(self) -> None:
        """Checks every keyword and reaches every subschema."""
        dialect, contents, families = self.scope.dialect, self.contents, 0
        table = dialect.keywords
        if dialect.reference_alone and "$ref" in contents:
            self.families = REFERENCE
            table["$ref"].check(self, "$ref", contents["$ref"])
            return
        for key, value in contents.items():
            if key in table:
                family, check = table[key]
                families |= family
                check(self, key, value)
        self.families = families
        if families & NUMBERS and "multipleOf" in contents:
            number_language(self)

    def reach(self, contents: Any, pointer: str) -> Schema | None:
        """The subschema `contents`, which is checked later; None if it is true or false."""
        if contents.__class__ is dict:
            return self.scope.schemas.get(id(contents)) or self.document.enter(contents, pointer, self.scope)
        if contents is True or contents is False:
            return None
        raise InvalidError("a schema must be an object, true or false", pointer=pointer)

    def reach_here(self, contents: Any, pointer: str, key: str) -> None:
        """As `reach`, for a subschema that speaks about the same instance."""
        schema = self.reach(contents, pointer)
        if schema is not None:
            self._add_here(key, schema)

    def refer(self, key: str, reference: str) -> None:
        """Follows the reference of the keyword `key`."""
        targets = self.scope.targets
        target = targets.get((key, reference))
        if target is None:
            pointer = f"{self.pointer}/{key}"
            contents, place, scope = self.document.references.find(key, reference, self.scope, pointer)
            if contents.__class__ is dict:
                target = scope.schemas.get(id(contents)) or self.document.enter(contents, place, scope)
            elif isinstance(contents, bool):
                target = contents
            else:
                raise InvalidError(f"the reference {reference!r} leads to something that is no schema", pointer=pointer)
            targets[key, reference] = target
        self.targets += (target,)
        if isinstance(target, Schema):
            self._add_here(key, target)

    def _add_here(self, key: str, schema: Schema) -> None:
        if self.here is None:
            self.here = []
        self.here.append((key, schema))

    def judge_early(self) -> None:
        """Has this schema expanded while the document is loaded."""
        self.document.early[self] = None

    # What the expansion of families calls

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a keyword, if it is one in this dialect."""
        value = self.contents.get(key, default)
        if value is default or key not in self.scope.dialect.keywords:
            return default
        return value

    def child(self, contents: Any) -> Bool:
        """A subschema as an expression over Schema leaves."""
        if contents.__class__ is not dict:
            return TRUE if contents is True else FALSE
        return self.scope.schemas[id(contents)].expression

    def subschema(self, contents: Any) -> Schema | bool:
        """A subschema itself."""
        if contents.__class__ is not dict:
            return contents is True
        return self.scope.schemas[id(contents)]

    @property
    def expression(self) -> Bool:
        """This schema as an expression, without detours: a bare reference is what it leads to."""
        schema = self
        while schema.families == REFERENCE and schema.types == ANY_TYPE and len(schema.targets) == 1:
            (target,) = schema.targets
            if not isinstance(target, Schema):
                return TRUE if target else FALSE
            schema = target
        if not schema.families:
            return TRUE if schema.types == ANY_TYPE else schema.document.plain(schema)
        return boolean.leaf(schema)

    def target_value(self) -> Value:
        """The values that the references admit."""
        if len(self.targets) == 1 and isinstance(self.targets[0], Schema):
            return self.targets[0].expand()
        algebra = self.document.algebra
        constants = algebra.value_of(TRUE), algebra.value_of(FALSE)
        found = [target.expand() if isinstance(target, Schema) else constants[not target] for target in self.targets]
        return algebra.all_of(found)

    def expand(self) -> Value:
        """The values that satisfy this schema, memoised. (Not to be called by two threads at once.)

        Raises:
            LimitExceeded: a number or a pattern is beyond a budget, or the caller's stack is nearly full.
            UnsupportedError, InvalidError: only while the schema is loaded.
        """
        if self._value is None:
            if self._pending:
                raise Pending(self.pointer)
            self._pending = True
            try:
                tick()
                self._value = _expand(self)
            except GrammarError as error:
                error.at(self.pointer)
                raise
            except RecursionError as error:
                limit, hint = sys.getrecursionlimit(), "nest the subschemas and references less deeply"
                raise LimitExceeded("sys.getrecursionlimit()", limit, limit, pointer=self.pointer, hint=hint) from error
            finally:
                self._pending = False
        return self._value


def _has_some_length(contents: dict[str, Any]) -> bool:
    """Whether strings are plainly left that the keywords for strings admit."""
    longest = contents.get("maxLength")
    return not contents.keys() & {"pattern", "format"} and (longest is None or contents.get("minLength", 0) <= longest)


def _has_one_bound(contents: dict[str, Any]) -> bool:
    """Whether numbers are plainly left that the keywords for numbers admit: all on one side of a bound."""
    bounds = [contents[key] for key in _BOUNDS if key in contents]
    return "multipleOf" not in contents and len(bounds) == 1 and -_PLAIN_BOUND < bounds[0] < _PLAIN_BOUND


def _expand(schema: Schema) -> Value:
    families, types, document = schema.families, schema.types, schema.document
    if families == REFERENCE and types == ANY_TYPE:
        return schema.target_value()
    number: Regex = regular.EMPTY
    if types & (NUMBER | INTEGER):
        number = number_language(schema) if families & NUMBERS or not types & NUMBER else document.numbers
    string: Regex = regular.EMPTY
    if types & STRING:
        string = string_language(schema) if families & STRINGS else regular.ANY_STRING
    array = object_ = FALSE
    if types & ARRAY:
        array = array_shape(schema) if families & ARRAYS else TRUE
    if types & OBJECT:
        object_ = object_shape(schema) if families & OBJECTS else TRUE
    value = Value(types & 7, number, string, array, object_)
    if families & VALUES:
        value = document.algebra.all_of([value, constants(schema)])
    if families & (LOGIC | REFERENCE):
        value = combined(schema, value)
    return value


class Document:
    """Everything that the subschemas of one schema share.

    Attributes:
        options: see grammars/options.py.
        references: the resources that references lead to.
        algebra: operations on values; it memoises those of child expressions.
        numbers: the language of all numbers under the text policy.
        number_sets: combines the languages of numbers.
        warnings: what was left out or read leniently, each beginning with its pointer.
        early: the schemas that negate something or restrict what is not evaluated, in order of visit.
        evaluates: whether some schema restricts what is not evaluated.
        unique: whether some schema says `uniqueItems`.
        schemas: every subschema that is reached, in order of visit.
    """

    def __init__(self, contents: Any, options: SchemaOptions, dynamic: bool = False) -> None:
        """`dynamic`: whether dynamic scopes are followed (see schema_references)."""
        self.options = options
        self.references = References(contents, options.dialect, options.registry, dynamic)
        self.numbers: Regex = numbers.numbers(options.numbers)
        self.number_sets = NumberSets(options.numbers)
        self.algebra = Algebra(self.numbers, self.number_sets)
        self.warnings = self.references.warnings
        self.early: dict[Schema, None] = {}
        self.evaluates = False
        self.unique = False
        self.schemas: list[Schema] = []
        self._pending: list[Schema] = []
        self._plain: dict[int, Bool] = {}
        self._patterns: dict[str, Regex | UnsupportedError] = {}
        self._formats: dict[str, Regex | UnsupportedError | None] = {}
        self._numbers: dict[tuple[Any, ...], Regex] = {}

    def load(self, contents: Any) -> Bool:
        """Checks the whole schema and gives its expression.

        Raises:
            DynamicScopeNeeded: a document that follows dynamic scopes is needed.
        """
        if isinstance(contents, bool):
            return TRUE if contents else FALSE
        if not isinstance(contents, dict):
            raise InvalidError("a schema must be an object, true or false", pointer="")
        root = self.enter(contents, "", self.references.root)
        while self._pending:
            tick()
            self._pending.pop().check()
        self._check_loops()
        for schema in self.early:
            schema.expand()
        self.algebra.renew()
        return root.expression

    def close(self) -> None:
        """Take everything apart that refers to each other in circles."""
        for schema in self.schemas:
            schema.__dict__.clear()

    def enter(self, contents: dict[str, Any], pointer: str, scope: Scope) -> Schema:
        """The schema of `contents`, first met where the schema around it stands in `scope`."""
        if scope.identifier in contents or "$schema" in contents:
            inner = self.references.enter(contents, pointer, scope)
            schema = Schema(self, inner, contents, pointer)
            inner.schemas[id(contents)] = schema
        else:
            schema = Schema(self, scope, contents, pointer)
        scope.schemas[id(contents)] = schema
        self._pending.append(schema)
        self.schemas.append(schema)
        return schema

    def leave_out(self, error: UnsupportedError, key: str, pointer: str) -> None:
        """Raises `error` as one of the keyword `key` at `pointer`; under on_unsupported="warn", makes it a warning."""
        placed = UnsupportedError(error.reason, keyword=key, pointer=pointer, position=error.position, hint=error.hint)
        if self.options.on_unsupported == "error":
            placed.text = error.text
            raise placed from error
        self.warnings.append(f"{placed}: left out")

    # Languages, memoised

    def check_pattern(self, pattern: str, pointer: str, key: str) -> None:
        """Refuses a pattern that cannot be enforced (it stands at `pointer`), or notes that it is left out."""
        try:
            if pattern not in self._patterns:
                self._patterns[pattern] = regex.parse(pattern, search=True)
        except UnsupportedError as error:
            self._patterns[pattern] = error
        except GrammarError as error:
            error.at(pointer)
            raise
        self._check_language(self._patterns[pattern], pointer, key)

    def check_format(self, name: str, pointer: str) -> None:
        """As `check_pattern`, for the value of `format`; an unknown one is noted, too, or refused."""
        if self.options.format == "annotate":
            return
        if name not in self._formats:
            self._formats[name] = formats.format_language(name)
        if self._formats[name] is None and self.options.unknown_format == "error":
            hint = 'correct it, leave it out, or compile with unknown_format="annotate"'
            self._formats[name] = UnsupportedError(f"the format {name!r} is unknown", hint=hint)
        if self._formats[name] is None:
            self.warnings.append(f"{pointer}: the format {name!r} is unknown: not enforced")
        self._check_language(self._formats[name], pointer, "format")

    def _check_language(self, found: Regex | UnsupportedError | None, pointer: str, key: str) -> None:
        if isinstance(found, UnsupportedError):
            self.leave_out(found, key, pointer)

    def pattern_language(self, pattern: str) -> Regex | None:
        """The strings in which `pattern`, already checked, finds a match; None if it was left out."""
        found = self._patterns[pattern]
        return None if isinstance(found, UnsupportedError) else found

    def format_language(self, name: str) -> Regex | None:
        """The strings of a format, already checked; None if it is not enforced."""
        found = self._formats.get(name)
        return None if isinstance(found, UnsupportedError) else found

    def number_language(self, integer: bool, *bounds: Any) -> Regex:
        """As numbers.number_language, under the text policy.

        Args:
            integer: whether the value must be an integer.
            bounds: minimum, exclusive minimum, maximum, exclusive maximum, divisor; None where there is none.
        """
        key = (integer, *bounds)
        if key not in self._numbers:
            self._numbers[key] = self.number_sets.language(integer, *bounds)
        return self._numbers[key]

    def plain(self, schema: Schema) -> Bool:
        """One leaf for all schemas that say nothing but their `type`."""
        key = schema.types if schema.scope.dialect.integral_floats else ~schema.types
        return self._plain.setdefault(key, boolean.leaf(schema))

    # Judgement of the whole

    def _check_loops(self) -> None:
        """No schema may apply to its own instance again; and expansion, which recurs, must not go too deep.

        Raises:
            InvalidError: a loop.
            LimitExceeded: a long way without one.
        """
        heights: dict[Schema, int] = {}
        for start in self.schemas:
            if start.here is None or start in heights or all(below.here is None for _, below in start.here):
                continue
            path: dict[Schema, str] = {}
            stack: list[tuple[Schema, int]] = [(start, 0)]
            while stack:
                schema, step = stack.pop()
                edges = schema.here or []
                if step == len(edges):
                    path.pop(schema, None)
                    heights[schema] = 1 + max((heights[below] for _, below in edges), default=0)
                    continue
                key, below = edges[step]
                path[schema] = key
                stack.append((schema, step + 1))
                if below in path:
                    self._report_loop(path, below)
                if below not in heights:
                    stack.append((below, 0))
            if heights[start] > MAX_SAME_INSTANCE_DEPTH:
                reached, hint = heights[start], "nest the subschemas and references less deeply"
                raise LimitExceeded("nesting", reached, MAX_SAME_INSTANCE_DEPTH, pointer=start.pointer, hint=hint)

    @staticmethod
    def _report_loop(path: dict[Schema, str], again: Schema) -> None:
        loop = list(path.items())
        loop = loop[next(i for i, (schema, _) in enumerate(loop) if schema is again) :]
        way = " -> ".join(f"#{schema.pointer}/{key}" for schema, key in loop)
        for schema, key in loop:
            if key == "propertyNames":
                reason = "names cannot be described by the schema of their own object"
                raise UnsupportedError(reason, keyword=key, pointer=f"{schema.pointer}/{key}")
        raise InvalidError(f"references form an infinite loop: {way}", pointer=f"{again.pointer}/{loop[0][1]}")
