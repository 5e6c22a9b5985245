"""Where `uniqueItems` cannot be enforced: where its opposite is asked for.

Arrays with two equal items at least are not among the shapes of arrays (grammars/shapes.py). Some negations need them: that
shows when the schemas that negate something are expanded, and the negated children in what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from maskwright.grammars.boolean import Bool, leaves
from maskwright.grammars.errors import UnsupportedError
from maskwright.grammars.ir import Value

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["negated"]

_MAX_EXPRESSIONS = 10_000  # negated children that are looked at


def negated(
    schemas: Iterable[Schema], unique: Mapping[Schema, None], value_of: Callable[[Bool], Value]
) -> tuple[str, list[Schema]] | None:
    """Whether `schemas` ask for the opposite of `uniqueItems`: the reason, and who says `uniqueItems`.

    Args:
        schemas: those that negate something; none of them applies to its own instance again.
        unique: the schemas that say `uniqueItems`.
        value_of: the values of a child expression.

    Raises:
        GrammarError: as Schema.expand, but for what is reported.
    """
    seen: set[Bool] = set()
    for schema in schemas:
        speaking = list(_speaking(schema, unique))
        try:
            values = [schema.expand()]
            while values and len(seen) < _MAX_EXPRESSIONS:
                for child in _negated_children(values.pop()):
                    if child not in seen:
                        seen.add(child)
                        speaking = [one for leaf in leaves(child) for one in _speaking(leaf, unique)]
                        values.append(value_of(child))
        except UnsupportedError as error:
            if error.keyword != "uniqueItems":
                raise
            return error.reason, speaking or list(unique)
    return None


def _speaking(schema: Any, unique: Mapping[Schema, None]) -> Iterator[Schema]:
    """The schemas that say `uniqueItems` of the instances of `schema`, a Schema or Constant."""
    if schema in unique:
        yield schema
    for _, below in getattr(schema, "here", None) or ():
        yield from _speaking(below, unique)


def _negated_children(value: Value) -> Iterator[Bool]:
    """The child expressions in which something is negated."""
    for shape in leaves(value.array):
        for child in (*shape.prefix, shape.rest, *([shape.counted.child] if shape.counted else ())):
            if _negates(child):
                yield child
    for shape in leaves(value.object):
        children = [child for _, child in (*shape.properties, *shape.patterns)]
        for child in (*children, shape.additional, *([shape.counted.child] if shape.counted else ())):
            if _negates(child):
                yield child


def _negates(expression: Bool) -> bool:
    return expression.kind in ("not", "one") or any(map(_negates, expression.args))
