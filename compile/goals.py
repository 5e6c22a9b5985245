"""What a value must be, what its container wants to know of it, and whether any value can be both.

A container runs every shape that still matters over the same brackets. So a child value is lowered from a *goal*: an
expression it must satisfy, and expressions whose truth is reported to the container as a *label* when the value ends.
Almost every goal observes nothing and has the one label 0.

For a positive expression over shapes (and, or) an array keeps the disjunctive form: a *term* is a set of shapes that hold
together. A term is viable while all of its shapes can still be satisfied; an array is viable while one term is. Objects
have too many of them, and search instead (compile/choices.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded, UnsupportedError

__all__ = ["NO_LABELS", "Asked", "Goal", "Labels", "Term", "ask", "asked", "terms_of"]

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
    """A question to a child value, and what its answer tells the container.

    Its *subjects* are whatever asks something of the child: a shape (is it still alive?) or the count of one (is the child
    one of those that are counted?).
    """

    goal: Goal
    certain: frozenset[Any]  # subjects that hold of every value the goal admits
    questions: tuple[tuple[Bool, tuple[Any, ...]], ...]  # an observed expression, the subjects that it decides

    def holding(self, outcome: tuple[bool, ...]) -> frozenset[Any]:
        """The subjects that hold after an outcome (one truth value a question)."""
        found = set(self.certain)
        for truth, (_, subjects) in zip(outcome, self.questions, strict=True):
            if truth:
                found.update(subjects)
        return frozenset(found)


def ask(
    demands: Mapping[Term, Bool], questions: Mapping[Any, Bool], satisfiable: Callable[[Bool], bool]
) -> Asked | None:
    """What to demand of the next child so that some term survives; None when no value can.

    Args:
        demands: for each term that could go on after one more child, what the child must be then; at least what all shapes
            of the term ask of it.
        questions: for every subject that matters, what it asks of the child.
        satisfiable: whether some value satisfies an expression.
    """
    kept = [(term, demand) for term, demand in demands.items() if satisfiable(demand)]
    if not kept:
        return None
    must = boolean.any_of(demand for _, demand in kept)
    facts = {
        questions[subject] for subject in frozenset.intersection(*(term for term, _ in kept)) if subject in questions
    }
    facts.update((must, *must.args) if must.kind == "and" else (must,))
    return asked(must, facts, questions)


def asked(must: Bool, facts: Collection[Bool], questions: Mapping[Any, Bool], certain: Collection[Any] = ()) -> Asked:
    """What to demand of the next child, and what to observe of it.

    Args:
        must: what it must be.
        facts: what holds of whatever `must` admits.
        questions: for every subject that matters, what it asks of the child.
        certain: further subjects that count as holding.
    """
    holding = set(certain)
    open_: dict[Bool, list[Any]] = {}
    for subject, question in questions.items():
        if question.kind == "true" or question in facts:
            holding.add(subject)
        elif question.kind != "false" and boolean.negate(question) not in facts:
            open_.setdefault(question, []).append(subject)
    return Asked(
        Goal(must, tuple(open_)),
        frozenset(holding),
        tuple((question, tuple(subjects)) for question, subjects in open_.items()),
    )
