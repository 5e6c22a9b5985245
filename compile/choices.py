"""Which shapes of an object can hold together, and what they ask of the value of a key.

A positive formula over shapes (and, or) holds where all shapes of some *choice* do. Multiplied out it may have
exponentially many choices, of which few matter: of `oneOf` branches that a required key tells apart no two can be chosen
together, and where one alternative asks nothing of a value, those that ask more need not be looked at. So choices are
grown shape by shape, and given up as soon as they cannot come true; whoever wants one stops at the first.

    (a and (b or c)) or d, where b cannot come true with a:    a -> a b (given up) -> a c (found); d (found)

Shapes have numbers, and sets of them are integers (compile/number_masks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from maskwright.compile.number_masks import bits
from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded, UnsupportedError
from maskwright.grammars.stopwatch import tick

__all__ = ["Choices", "Column"]

_MAX_STEPS = 1 << 16

_Pending = tuple[Bool, Any] | None
"""Parts of a formula that are still to be made true: a linked list."""


class Column:
    """What the shapes ask of the value of one key.

    Args:
        questions: by the number of the shape.
        satisfiable: whether some value satisfies an expression, and whether the answer may be kept.

    Attributes:
        of: the question of each shape.
        questions: those that are not TRUE, each once, in the order of the shapes.
        asking: the shapes that ask one.
    """

    def __init__(self, questions: Sequence[Bool], satisfiable: Callable[[Bool], tuple[bool, bool]]) -> None:
        numbers: dict[Bool, int] = {}
        self._satisfiable, self.asking = satisfiable, 0
        self._numbers = [0] * len(questions)
        self.of = questions
        for number, question in enumerate(questions):
            if question.kind != "true":
                self._numbers[number] = numbers.setdefault(question, len(numbers))
                self.asking |= 1 << number
        self.questions = tuple(numbers)
        self._asked: dict[int, int] = {}
        self._possible: dict[int, bool] = {}

    def asked(self, shapes: int) -> int:
        """The numbers of the questions that some shapes ask."""
        shapes &= self.asking
        found = self._asked.get(shapes)
        if found is None:
            found = 0
            for number in bits(shapes):
                found |= 1 << self._numbers[number]
            self._asked[shapes] = found
        return found

    def demand(self, asked: int) -> Bool:
        """What a value must be for some questions, by number."""
        return boolean.all_of([self.questions[number] for number in bits(asked)])

    def possible(self, shapes: int) -> bool:
        """Whether some value is what all of some shapes ask for."""
        asked = self.asked(shapes)
        found = self._possible.get(asked)
        if found is None:
            found, certain = self._satisfiable(self.demand(asked))
            if certain:
                self._possible[asked] = found
        return found


class Choices:
    """The choices of one formula.

    Args:
        formula: positive.
        numbers: of the shapes.
    """

    def __init__(self, formula: Bool, numbers: Mapping[Any, int]) -> None:
        if not boolean.is_monotone(formula):
            raise UnsupportedError("a negation over objects is not built yet")
        self._formula = boolean.substitute(formula, lambda shape: boolean.leaf(numbers[shape]))
        self._shapes: dict[Bool, int] = {}

    def find(self, alive: int, fits: Callable[[int, int], bool], last: int = 0) -> Iterator[int]:
        """Choices of living shapes, among them every smallest one that fits.

        Args:
            fits: whether a choice may still come true, after the shape of a number has joined it. It may change its mind
                from yes to no meanwhile.
            last: of alternatives those without any of these shapes come first.

        Raises:
            LimitExceeded: the search takes too long.
        """
        stack: list[tuple[int, _Pending]] = [(0, (self._formula, None))]
        steps = 0
        while stack:
            tick()
            steps += 1
            if steps > _MAX_STEPS:
                what, hint = "ways to combine the alternatives of one object", "use fewer alternatives that overlap"
                raise LimitExceeded("max_choices", steps, _MAX_STEPS, what=what, hint=hint)
            choice, pending = stack.pop()
            if pending is None:
                yield choice
                continue
            formula, rest = pending
            if formula.kind != "or":
                grown = self._join(formula, choice, rest, alive, fits)
                if grown is not None:
                    stack.append(grown)
            elif any(not self.shapes(argument) & ~choice for argument in formula.args):
                stack.append((choice, rest))  # it holds already
            else:
                arguments = [argument for argument in formula.args if self.lives(argument, alive)]
                if last:
                    arguments.sort(key=lambda argument: bool(self.shapes(argument) & last))
                stack.extend((choice, (argument, rest)) for argument in reversed(arguments))

    def _join(
        self, formula: Bool, choice: int, rest: _Pending, alive: int, fits: Callable[[int, int], bool]
    ) -> tuple[int, _Pending] | None:
        """The choice with what `formula` (no `or`) needs for sure, and what is to be decided then; None: it cannot be."""
        if formula.kind == "true":
            return choice, rest
        if formula.kind not in ("leaf", "and"):
            return None
        later = []
        for argument in formula.args or (formula,):
            if argument.kind != "leaf":
                later.append(argument)
            elif not choice >> argument.payload & 1:
                choice |= 1 << argument.payload
                if choice & ~alive or not fits(choice, argument.payload):
                    return None
        for argument in reversed(later):
            rest = argument, rest
        return choice, rest

    def shapes(self, formula: Bool) -> int:
        """The shapes in a part of the formula."""
        found = self._shapes.get(formula)
        if found is None:
            found = 0
            for number in boolean.leaves(formula):
                found |= 1 << number
            self._shapes[formula] = found
        return found

    def lives(self, formula: Bool, alive: int) -> bool:
        """Whether a part of the formula holds where exactly the living shapes do."""
        if formula.kind == "leaf":
            return bool(alive >> formula.payload & 1)
        if not self.shapes(formula) & ~alive:
            return formula.kind != "false"
        if formula.kind == "and":
            return all(self.lives(argument, alive) for argument in formula.args)
        return any(self.lives(argument, alive) for argument in formula.args)

    def relevant(self, alive: int, settled: int = 0) -> int:
        """The living shapes on which the formula still depends.

        Args:
            settled: living shapes that hold whatever comes.
        """
        return self._relevant(self._formula, alive, settled)[1]

    def _relevant(self, formula: Bool, alive: int, settled: int) -> tuple[bool | None, int]:
        """The truth of a part as far as it is known, and the shapes on which it depends where it is not."""
        kind = formula.kind
        if kind == "leaf":
            bit = 1 << formula.payload
            if not alive & bit:
                return False, 0
            return (True, 0) if settled & bit else (None, bit)
        if kind in ("true", "false"):
            return kind == "true", 0
        found, certain = 0, kind == "and"
        for argument in formula.args:
            truth, shapes = self._relevant(argument, alive, settled)
            if truth is (not certain):
                return truth, 0
            found |= shapes
        return (None, found) if found else (certain, 0)
