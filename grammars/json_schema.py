"""JSON Schema, drafts 4 to 2020-12, as the intermediate representation.

    loaded = load_schema({"type": "object", "properties": {"a": {"type": "integer"}}}, SchemaOptions())
    loaded.root         an expression over Schema leaves, which expand when first asked
    loaded.warnings     ['/properties/a/format: the format ... is unknown: not enforced', ...]

A schema is checked as a whole (malformed keywords, references to nowhere, what cannot be enforced: each an error with
its JSON Pointer) and expanded lazily. A keyword of the specification is enforced or refused, never ignored; a keyword
outside its dialect is an annotation. Where the work is done:

    schema_keywords     the table of keywords of each dialect, and what their values must look like
    schema_references   resources, `$id`, anchors, other documents, dynamic scopes
    schema_document     the visit of all subschemas, and Schema: one subschema, a leaf of the IR
    schema_strings, _numbers, _arrays, _objects, _constants, _logic     one family of keywords each
    schema_evaluated    what the rest of a schema leaves to `unevaluatedProperties` and `unevaluatedItems`
    values, shapes      and, or, not, exactly one over what comes out
"""

from __future__ import annotations

import json
import marshal
import math
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import uuid4

from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import InvalidError, LimitExceeded
from maskwright.grammars.ir import Value
from maskwright.grammars.numbers import MAX_NUMBER_DIGITS
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex
from maskwright.grammars.schema_document import Document, Schema
from maskwright.grammars.schema_references import DynamicScopeNeeded

__all__ = ["LoadedSchema", "load_schema", "read_schema", "schema_text"]

MAX_NESTING = 1000  # what Python's JSON reader follows


@dataclass(frozen=True, slots=True)
class LoadedSchema:
    """A checked schema.

    Attributes:
        contents: the schema itself, a copy of what was given; fractions of a text as Decimals.
        root: what a value must satisfy: an expression over Schema leaves (ir.Schema).
        warnings: what is not enforced or was read leniently; each begins with its JSON Pointer.
        numbers: the language of all numbers under the text policy.
        unique: whether `uniqueItems` is said anywhere.
    """

    contents: Any = field(repr=False, compare=False)
    root: Bool
    warnings: list[str]
    numbers: Regex
    unique: bool
    _document: Document = field(repr=False, compare=False)

    @property
    def schema(self) -> Schema | bool:
        """The whole schema as a leaf of the IR, before `root` leaves out detours."""
        return self.contents if isinstance(self.contents, bool) else self._document.schemas[0]

    @property
    def subschema_count(self) -> int:
        """Subschemas that are reached, the schema itself among them; true and false do not count."""
        return len(self._document.schemas)

    def value_of(self, expression: Bool) -> Value:
        """The values that satisfy an expression over the schema's leaves, memoised.

        Raises:
            LimitExceeded: a number, a pattern or a combination of them is beyond a budget.
        """
        return self._document.algebra.value_of(expression)

    def close(self) -> None:
        """Take the document apart: nothing will be asked of it any more. Then it is freed without the garbage collector."""
        self._document.close()


def load_schema(schema: dict[str, Any] | bool | str, options: SchemaOptions | None = None) -> LoadedSchema:
    """Reads and checks a schema.

    Args:
        schema: a schema, or its JSON text. Later changes to it have no effect.
        options: the text policy and the default dialect.

    Raises:
        InvalidError: not a schema; a reference to nowhere; references in a circle.
        UnsupportedError: a keyword that cannot be enforced.
        LimitExceeded: nested too deeply, or too many overlapping alternatives.
    """
    options = options or SchemaOptions()
    try:
        contents = read_schema(schema) if isinstance(schema, str) else _snapshot(schema)
        document = Document(contents, options)
        try:
            root = document.load(contents)
        except DynamicScopeNeeded:
            document = Document(contents, options, dynamic=True)
            root = document.load(contents)
    except RecursionError as error:
        raise _nested_too_deeply() from error
    return LoadedSchema(contents, root, document.warnings, document.numbers, document.unique, document)


def read_schema(text: str) -> Any:
    """The JSON value that `text` spells, fractions as Decimals.

    Raises:
        InvalidError: it is not JSON.
        LimitExceeded: nested too deeply; a number in it is larger or smaller than any schema needs.
    """
    try:
        return json.loads(text, parse_float=_fraction, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _nested_too_deeply() from error
    except json.JSONDecodeError as error:
        raise InvalidError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise InvalidError(f"not a schema: {error}") from error


def _nested_too_deeply() -> LimitExceeded:
    hint = "nest the schema less deeply"
    return LimitExceeded("nesting", MAX_NESTING, MAX_NESTING, what="schema", pointer="", hint=hint)


def _fraction(text: str) -> Decimal:
    number = Decimal(text)
    size = abs(number.adjusted())
    if size > MAX_NUMBER_DIGITS:
        raise LimitExceeded("max_number_digits", size, MAX_NUMBER_DIGITS, what=text, hint="write a smaller number")
    return number


def _refuse_constant(name: str) -> None:
    raise InvalidError(f"not JSON: {name} is no number in JSON")


def _snapshot(schema: Any) -> Any:
    """A copy in plain dicts, lists and scalars: subschemas expand later, when the caller may have changed them."""
    try:
        # By far the fastest deep copy in the standard library. It takes the exact built-in types only.
        return marshal.loads(marshal.dumps(schema))
    except ValueError:
        pass  # a subclass of one (OrderedDict, str enum), a Decimal, a stranger, or too deep
    return _copied(schema)


def _copied(value: Any) -> Any:
    """A JSON value in the exact built-in types, but for fractions, which stay Decimals.

    Raises:
        InvalidError: it is none.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Decimal):
        return _number(value)
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {str.__str__(name): _copied(item) for name, item in value.items()}
    raise InvalidError(f"a schema must be made of JSON values, and {value!r:.100} is none")


def _number(value: float | Decimal) -> float | Decimal | int:
    if not math.isfinite(value):
        raise InvalidError(f"a schema must be made of JSON values, and {value!r} is none")
    if isinstance(value, float):
        return float(value)
    return int(value) if _fraction(str(value)) == value.to_integral_value() else value


def schema_text(schema: Any) -> str:
    """The JSON text of a schema, fractions digit by digit.

    Raises:
        TypeError, ValueError, RecursionError: it has none.
    """
    mark, decimals = uuid4().hex, list[Decimal]()

    def marked(value: Any) -> str:
        if not isinstance(value, Decimal):
            raise TypeError(f"{value!r:.100} is not for JSON")
        decimals.append(value)
        return f"{mark}{len(decimals) - 1}"

    text = json.dumps(schema, default=marked)
    return re.sub(f'"{mark}([0-9]+)"', lambda found: str(decimals[int(found[1])]), text) if decimals else text
