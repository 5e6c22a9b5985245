"""What a value must be, what its container wants to know of it, and whether any value can be both.

A container runs every shape that still matters over the same brackets. So a child value is lowered from a *goal*: an
expression it must satisfy, and expressions whose truth is reported to the container as a *label* when the value ends.
Almost every goal observes nothing and has the one label 0.

For a positive expression over shapes (and, or) the container keeps the disjunctive form: a *term* is a set of shapes that
hold together. A term is viable while all of its shapes can still be satisfied; a container is viable while one term is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded, UnsupportedError

__all__ = ["NO_LABELS", "Asked", "Goal", "Labels", "Term", "ask", "terms_of"]

Term = frozenset[Any]  # of ArrayShape or ObjectShape

_MAX_TERMS = 4096
_MAX_LABELS = 256


class Labels:
    """Numbers for the outcomes of one goal, given out as outcomes are met; bounded, so that a return block is too."""

    def __init__(self, observed: int) -> None:
        self.capacity = min(1 << observed, _MAX_LABELS) if observed < 30 else _MAX_LABELS
        self.outcomes: list[tuple[bool, ...]] = [] if observed else [()]
        self._numbers: dict[tuple[bool, ...], int] = {} if observed else {(): 0}

    def number(self, outcome: tuple[bool, ...]) -> int:
        """The label of an outcome: one truth value for each observed expression."""
        found = self._numbers.get(outcome)
        if found is None:
            found = len(self.outcomes)
            if found >= self.capacity:
                raise LimitExceeded("max_outcomes", found + 1, self.capacity, what="distinct outcomes of one value")
            self._numbers[outcome] = found
            self.outcomes.append(outcome)
        return found


NO_LABELS = Labels(0)
"""The labels of every goal that observes nothing: label 0."""


@dataclass(frozen=True, slots=True)
class Goal:
    """`must` hold of the value; the truth of each of `observed` is reported. Expressions over Schema leaves."""

    must: Bool
    observed: tuple[Bool, ...] = ()


def terms_of(formula: Bool) -> tuple[Term, ...]:
    """The disjunctive form of a positive formula, subsumed terms left out; () is false, (frozenset(),) is true."""
    kind = formula.kind
    if kind == "true":
        return (frozenset(),)
    if kind == "false":
        return ()
    if kind == "leaf":
        return (frozenset((formula.payload,)),)
    if kind == "or":
        terms: dict[Term, None] = {}
        for argument in formula.args:
            for term in terms_of(argument):
                terms[term] = None
    elif kind == "and":
        terms = {frozenset(): None}
        for argument in formula.args:
            branches = terms_of(argument)
            if len(terms) * len(branches) > _MAX_TERMS:
                raise LimitExceeded(
                    "max_terms", len(terms) * len(branches), _MAX_TERMS, what="alternatives of one container"
                )
            terms = {left | right: None for left in terms for right in branches}
    else:
        raise UnsupportedError(f"`{kind}` over arrays or objects is not built yet")
    if len(terms) > _MAX_TERMS:
        raise LimitExceeded("max_terms", len(terms), _MAX_TERMS, what="alternatives of one container")
    if len(terms) == 1 or len(terms) > 64:  # subsumption is quadratic and only saves work
        return tuple(terms)
    return tuple(term for term in terms if not any(other < term for other in terms))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a child value, and how its answer changes which shapes are alive."""

    goal: Goal
    certain: frozenset[Any]  # shapes that hold of every value the goal admits
    questions: tuple[tuple[Bool, tuple[Any, ...]], ...]  # an observed expression, the shapes that it decides

    def alive(self, outcome: tuple[bool, ...]) -> frozenset[Any]:
        """The shapes still alive after an outcome (one truth value a question)."""
        alive = set(self.certain)
        for truth, (_, shapes) in zip(outcome, self.questions, strict=True):
            if truth:
                alive.update(shapes)
        return frozenset(alive)


def ask(terms: Iterable[Term], questions: Mapping[Any, Bool], satisfiable: Callable[[Bool], bool]) -> Asked | None:
    """What to demand of the next child so that one of `terms` survives; None when no value can.

    Args:
        terms: the terms that could go on after one more child.
        questions: for every shape that is alive, what it asks of the child; in the order of the shapes, which is that of
            the child's properties.
        satisfiable: whether some value satisfies an expression.
    """
    kept, demands = [], []
    for term in terms:
        demand = boolean.all_of(question for shape, question in questions.items() if shape in term)
        if satisfiable(demand):
            kept.append(term)
            demands.append(demand)
    if not kept:
        return None
    must = boolean.any_of(demands)
    certain = set(frozenset.intersection(*kept)) if must.kind != "true" else set()
    known = {questions[shape] for shape in certain}
    if must.kind == "leaf":
        known.add(must)
    open_: dict[Bool, list[Any]] = {}
    for shape, question in questions.items():
        if shape in certain or question.kind == "true" or question in known:
            certain.add(shape)
        elif question.kind != "false":
            open_.setdefault(question, []).append(shape)
    return Asked(
        Goal(must, tuple(open_)),
        frozenset(certain),
        tuple((question, tuple(shapes)) for question, shapes in open_.items()),
    )
