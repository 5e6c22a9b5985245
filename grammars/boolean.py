"""Boolean expressions over arbitrary hashable leaves: immutable, simplified on construction, hashed once.

The same algebra serves three times: over subschemas (what a value must satisfy), over array shapes and over object
shapes (what one container must satisfy). Leaves are opaque here.

    TRUE, FALSE, leaf(x), all_of([...]), any_of([...]), negate(e), exactly_one([...])

Invariants, held by the constructors: no constant occurs inside an operator; `and`/`or` are flat, have two or more
distinct arguments and never hold an argument beside its negation; `not` holds a leaf or a `one`; `one` has two or more
arguments (not distinct: a repeated argument matters).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

__all__ = [
    "FALSE",
    "TRUE",
    "Bool",
    "all_of",
    "any_of",
    "asserted",
    "evaluate",
    "exactly_one",
    "is_monotone",
    "leaf",
    "leaves",
    "negate",
    "substitute",
]


class Bool:
    """One expression. `kind` is "true", "false", "leaf", "and", "or", "not" or "one"."""

    __slots__ = ("_hash", "_leaves", "args", "kind", "payload")

    def __init__(self, kind: str, args: tuple[Bool, ...] = (), payload: Any = None) -> None:
        self.kind, self.args, self.payload = kind, args, payload
        # `and`, `or` and `one` keep the order of their arguments (it decides the order of properties).
        self._hash = hash((kind, args, payload))
        self._leaves: tuple[Any, ...] | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Bool) or self._hash != other._hash:
            return False
        return self.kind == other.kind and self.payload == other.payload and self.args == other.args

    def __repr__(self) -> str:
        if self.kind == "leaf":
            return repr(self.payload)
        return self.kind if not self.args else f"{self.kind}({', '.join(map(repr, self.args))})"


TRUE = Bool("true")
FALSE = Bool("false")


def leaf(payload: Hashable) -> Bool:
    """The expression that is one leaf."""
    return Bool("leaf", (), payload)


def negate(expression: Bool) -> Bool:
    """Not `expression`, pushed inwards as far as it goes (De Morgan)."""
    kind = expression.kind
    if kind == "true":
        return FALSE
    if kind == "false":
        return TRUE
    if kind == "not":
        return expression.args[0]
    if kind == "and":
        return any_of(negate(arg) for arg in expression.args)
    if kind == "or":
        return all_of(negate(arg) for arg in expression.args)
    return Bool("not", (expression,))


def _flat(kind: str, neutral: Bool, absorbing: Bool, arguments: Iterable[Bool]) -> Bool:
    found: dict[Bool, None] = {}
    for argument in arguments:
        if argument.kind == neutral.kind:
            continue
        if argument.kind == absorbing.kind:
            return absorbing
        for part in argument.args if argument.kind == kind else (argument,):
            found[part] = None
    if len(found) > 1:
        for part in found:
            if part.kind == "not" and part.args[0] in found:
                return absorbing
    if not found:
        return neutral
    parts = tuple(found)
    return parts[0] if len(parts) == 1 else Bool(kind, parts)


def all_of(arguments: Iterable[Bool]) -> Bool:
    """The conjunction; TRUE of nothing."""
    return _flat("and", TRUE, FALSE, arguments)


def any_of(arguments: Iterable[Bool]) -> Bool:
    """The disjunction; FALSE of nothing."""
    return _flat("or", FALSE, TRUE, arguments)


def exactly_one(arguments: Iterable[Bool]) -> Bool:
    """True when exactly one argument is true; FALSE of nothing."""
    certain, open_ = 0, []
    for argument in arguments:
        if argument.kind == "true":
            certain += 1
        elif argument.kind != "false":
            open_.append(argument)
    if certain > 1:
        return FALSE
    if certain == 1:
        return all_of(negate(argument) for argument in open_)
    if not open_:
        return FALSE
    return open_[0] if len(open_) == 1 else Bool("one", tuple(open_))


_BUILD: dict[str, Callable[[Iterable[Bool]], Bool]] = {"and": all_of, "or": any_of, "one": exactly_one}


def substitute(expression: Bool, replace: Callable[[Any], Bool | None]) -> Bool:
    """`expression` with each leaf payload p replaced by `replace(p)` (None keeps it), simplified again."""
    kind = expression.kind
    if kind == "leaf":
        new = replace(expression.payload)
        return expression if new is None else new
    if not expression.args:
        return expression
    changed, arguments = False, []
    for argument in expression.args:
        new = substitute(argument, replace)
        changed = changed or new is not argument
        arguments.append(new)
    if not changed:
        return expression
    return negate(arguments[0]) if kind == "not" else _BUILD[kind](arguments)


def leaves(expression: Bool) -> tuple[Any, ...]:
    """The distinct leaf payloads, in order of first occurrence."""
    if expression._leaves is None:
        if expression.kind == "leaf":
            expression._leaves = (expression.payload,)
        else:
            expression._leaves = tuple(dict.fromkeys(p for argument in expression.args for p in leaves(argument)))
    return expression._leaves


def asserted(expression: Bool) -> frozenset[Any]:
    """The leaf payloads that occur outside of negations."""
    if expression.kind == "leaf":
        return frozenset((expression.payload,))
    if expression.kind == "not":
        return frozenset()
    return frozenset().union(*(asserted(argument) for argument in expression.args))


def is_monotone(expression: Bool) -> bool:
    """Whether making a leaf true can never make `expression` false (no `not`, no `one`)."""
    if expression.kind in ("not", "one"):
        return False
    return all(is_monotone(argument) for argument in expression.args)


def evaluate(expression: Bool, truth: Callable[[Any], bool]) -> bool:
    """The truth of `expression` where each leaf payload p has the truth `truth(p)`."""
    kind = expression.kind
    if kind == "leaf":
        return truth(expression.payload)
    if kind == "and":
        return all(evaluate(argument, truth) for argument in expression.args)
    if kind == "or":
        return any(evaluate(argument, truth) for argument in expression.args)
    if kind == "not":
        return not evaluate(expression.args[0], truth)
    if kind == "one":
        return sum(evaluate(argument, truth) for argument in expression.args) == 1
    return kind == "true"
