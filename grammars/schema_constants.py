"""`enum` and `const`: values written out. 1 and 1.0 are one value, true and 1 are two."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

from maskwright.grammars.boolean import FALSE, Bool, any_of, leaf
from maskwright.grammars.errors import GrammarError
from maskwright.grammars.ir import FALSE_LITERAL, NULL_LITERAL, TRUE_LITERAL, ArrayShape, ObjectShape, Value
from maskwright.grammars.regular import EMPTY, Regex, words

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Document, Schema

__all__ = ["Constant", "constants", "identity"]


class Constant:
    """The schema that admits one value; equal to that of every equal value.

    Attributes:
        document: whose text policy spells it.
        pointer: where the `enum` or `const` stands.
    """

    __slots__ = ("_contents", "_key", "_value", "document", "pointer")

    def __init__(self, document: Document, contents: Any, pointer: str) -> None:
        self.document, self.pointer = document, pointer
        self._contents, self._key = contents, identity(contents)
        self._value: Value | None = None

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._key == other._key

    def __repr__(self) -> str:
        return repr(self._contents)

    @property
    def certain(self) -> bool:
        """See ir.Schema: the constant itself."""
        return True

    def expand(self) -> Value:
        """See ir.Schema."""
        if self._value is None:
            self._value = _listed(self.document, [self._contents], self.pointer)
        return self._value


def constants(schema: Schema) -> Value:
    """The values that `enum` and `const` admit.

    Raises:
        UnsupportedError: numbers that the text policy cannot single out.
    """
    parts = []
    absent = object()
    const = schema.get("const", absent)
    if const is not absent:
        parts.append(_listed(schema.document, [const], f"{schema.pointer}/const"))
    enum = schema.get("enum", absent)
    if enum is not absent:
        parts.append(_listed(schema.document, enum, f"{schema.pointer}/enum"))
    return schema.document.algebra.all_of(parts)


def identity(contents: Any) -> Hashable:
    """Equal for equal JSON values, and for no others.

    Strings and numbers are themselves, null, true and false in a tuple of one; arrays and objects are pairs of their type and
    the identities inside, a tuple or a frozenset of (key, identity).
    """
    if isinstance(contents, dict):
        return ("object", frozenset((name, identity(item)) for name, item in contents.items()))
    if isinstance(contents, list):
        return ("array", tuple(identity(item) for item in contents))
    if isinstance(contents, float):
        return Decimal(repr(contents))
    return (contents,) if contents is None or isinstance(contents, bool) else contents


def _listed(document: Document, values: Iterable[Any], pointer: str) -> Value:
    literals, texts, integers, numbers = 0, [], set[int](), set[Decimal]()
    array, object_ = list[Bool](), list[Bool]()
    for value in values:
        if isinstance(value, str):
            texts.append(value)
        elif value is None:
            literals |= NULL_LITERAL
        elif isinstance(value, bool):
            literals |= TRUE_LITERAL if value else FALSE_LITERAL
        elif isinstance(value, list):
            array.append(_array(document, value, pointer))
        elif isinstance(value, dict):
            object_.append(_object(document, value, pointer))
        elif value == int(value):
            integers.add(int(value))
        else:
            numbers.add(Decimal(repr(value)) if isinstance(value, float) else value)
    try:
        number = _numbers(document, integers, numbers)
    except GrammarError as error:
        error.at(pointer)
        raise
    return Value(literals, number, words(texts) if texts else EMPTY, any_of(array), any_of(object_))


def _numbers(document: Document, integers: set[int], others: set[Decimal]) -> Regex:
    parts = [document.number_language(True, first, None, last, None, None) for first, last in _runs(integers)]
    parts += [document.number_language(False, value, None, value, None, None) for value in sorted(others)]
    return document.number_sets.any_of(parts)


def _runs(integers: set[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of runs of consecutive integers."""
    for _, run in groupby(enumerate(sorted(integers)), key=lambda pair: pair[1] - pair[0]):
        members = [value for _, value in run]
        yield members[0], members[-1]


def _array(document: Document, value: list[Any], pointer: str) -> Bool:
    items = tuple(leaf(Constant(document, item, pointer)) for item in value)
    return leaf(ArrayShape(items, FALSE, len(items), len(items)))


def _object(document: Document, value: dict[str, Any], pointer: str) -> Bool:
    members = tuple((name, leaf(Constant(document, item, pointer))) for name, item in value.items())
    return leaf(ObjectShape(members, (), FALSE, tuple(value), listed=True))
