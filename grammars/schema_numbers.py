"""`integer`, `minimum`, `maximum`, their exclusive forms and `multipleOf`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import GrammarError
from maskwright.grammars.regular import Regex, alternate, chars, concat, intersect, literal, repeat
from maskwright.grammars.schema_keywords import NUMBER

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["number_language"]

# What an integer is up to draft 4: a number without a fraction or an exponent.
_WHOLE_DIGITS = concat(chars(CharSet.of("123456789")), repeat(chars(CharSet.of("0123456789")), 0))
_WRITTEN_INTEGER = concat(repeat(literal("-"), 0, 1), alternate(literal("0"), _WHOLE_DIGITS))


def number_language(schema: Schema) -> Regex:
    """The texts of numbers that the keywords about numbers admit.

    Raises:
        LimitExceeded: a divisor or the digits of a bound are beyond the budget.
    """
    minimum, exclusive_minimum = _bound(schema, "minimum", "exclusiveMinimum")
    maximum, exclusive_maximum = _bound(schema, "maximum", "exclusiveMaximum")
    multiple = schema.get("multipleOf")
    bounds = (minimum, exclusive_minimum, maximum, exclusive_maximum, multiple)
    integer = not schema.types & NUMBER
    written = integer and not schema.scope.dialect.integral_floats
    if all(bound is None for bound in bounds):
        if written:
            return _WRITTEN_INTEGER
        if not integer:
            return schema.document.numbers
    try:
        language = schema.document.number_language(integer, *bounds)
    except GrammarError as error:
        error.at(schema.pointer)
        raise
    return intersect(language, _WRITTEN_INTEGER) if written else language


def _bound(schema: Schema, inclusive: str, exclusive: str) -> tuple[Any, Any]:
    """(inclusive, exclusive) bound; a flag, as draft 4 writes it, makes the inclusive bound exclusive."""
    bound, strict = schema.get(inclusive), schema.get(exclusive)
    if isinstance(strict, bool):
        return (None, bound) if strict else (bound, None)
    return bound, strict
