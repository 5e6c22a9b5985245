"""Trees grown node by node, the likeliest first, from predictions of the next token.

Most drafters without a model are *predictors*: they know likely next tokens at a place. Growing asks at each place of the
tree, keeps all open candidates in a heap by the probability that the target comes to them, and takes the best while the
budget admits it:

    root  --(0.9)-- a  --(0.8)-- b          heap   0.72  b behind a          next to be taken
                                                    0.3   c behind the root

The matcher walks along, so that only tokens that the grammar allows become nodes. Several predictors grow one tree, and each
goes on behind the others' guesses: a copied name is followed by the quotation mark that the grammar's state makes likely.

How often a prediction comes true is counted for each predictor and each of its *grades* (such as how long a match was),
and these counts are the probabilities. Where predictors agree, the higher one counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text, Verified
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["Cursor", "GrowingSession", "PredictingDrafter", "Prediction", "Predictor"]

_PRIOR_WEIGHT = 3.0  # outcomes that a first estimate counts for
_MEMORY = 400.0  # outcomes of a grade that are remembered; older ones fade
_LEAST = 0.02  # candidates less likely than this are not kept


class Prediction(NamedTuple):
    """A candidate for the next token: how it came about, and a first estimate of its probability."""

    token: int
    grade: int
    estimate: float


class Predictor(Session):
    """A session that knows likely next tokens. Places are whatever it needs to go on from; a place is not changed."""

    grades: Grades

    @abstractmethod
    def root(self) -> Any:
        """The place behind the text as it is now; the matcher is there."""

    @abstractmethod
    def after(self, place: Any, token: int) -> Any:
        """The place behind one more token, over which the matcher has moved."""

    @abstractmethod
    def predictions(self, place: Any) -> Sequence[Prediction]:
        """Candidates for the next token, the best first; the matcher is there."""

    def learn(self, place: Any, token: int) -> None:
        """The target emitted `token` at a place."""

    def propose(self, budget: Budget) -> DraftTree:
        """See Session."""
        raise NotImplementedError("predictors grow together: see GrowingSession")


class PredictingDrafter(Drafter):
    """A drafter whose sessions are predictors; it keeps how often their predictions came true."""

    def __init__(self) -> None:
        self.grades = Grades()

    @abstractmethod
    def predictor(self, text: Text) -> Predictor:
        """The predictor for a text."""

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        return GrowingSession(text, [(self, self.predictor(text))])


class Grades:
    """How often predictions of each grade came true; old outcomes fade."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[float, float]] = {}  # right, all

    def probability(self, prediction: Prediction) -> float:
        """Of a prediction, from its first estimate and the outcomes so far."""
        _, grade, estimate = prediction
        right, total = self._counts.get(grade, (0.0, 0.0))
        return (right + _PRIOR_WEIGHT * estimate) / (total + _PRIOR_WEIGHT)

    def count(self, grade: int, came_true: bool) -> None:
        """Note an outcome."""
        right, total = self._counts.get(grade, (0.0, 0.0))
        fade = 1.0 if total < _MEMORY else 1.0 - 1.0 / _MEMORY
        self._counts[grade] = right * fade + came_true, total * fade + 1.0


class Cursor:
    """Moves a text's matcher to drafted places and back."""

    def __init__(self, matcher: GrammarMatcher) -> None:
        self._matcher, self._start = matcher, matcher.step_count
        self._path: list[int] = []

    def go(self, tokens: Sequence[int]) -> None:
        """To behind these tokens from where it was at the start; they are allowed."""
        same = 0
        for one, other in zip(self._path, tokens, strict=False):
            if one != other:
                break
            same += 1
        self._matcher.rollback(len(self._path) - same)
        del self._path[same:]
        for token in tokens[same:]:
            allowed = self._matcher.accept_token(token)
            assert allowed, "a place in the tree that the grammar does not allow"
            self._path.append(token)

    def try_token(self, token: int) -> bool:
        """One token further, if the grammar allows it and the text does not end with it."""
        if not 0 <= token < self._matcher.compiled.tokens.vocab_size or not self._matcher.accept_token(token):
            return False
        if self._matcher.is_terminated():
            self._matcher.rollback()
            return False
        self._path.append(token)
        return True

    def back(self) -> None:
        """To where it was at the start."""
        self.go([])


class GrowingSession(Session):
    """Predictors that grow one tree."""

    def __init__(self, text: Text, predictors: Sequence[tuple[PredictingDrafter, Predictor]]) -> None:
        self._text = text
        self._predictors = [predictor for _, predictor in predictors]
        self._grades = [drafter.grades for drafter, _ in predictors]
        self._places: dict[tuple[int, ...], list[Any]] = {}  # of the last tree, by the tokens that lead there
        self._predicted: dict[tuple[int, ...], list[Sequence[Prediction]]] = {}  # by each predictor

    def propose(self, budget: Budget) -> DraftTree:
        """See Session."""
        text, order = self._text, count()
        builder = TreeBuilder(text.ids[-1] if text.ids else -1)
        self._places, self._predicted = {}, {}
        if not budget.admits(0, 0.0, 1.0):
            return builder.build()
        cursor = Cursor(text.matcher)
        self._places, self._predicted = {(): [predictor.root() for predictor in self._predictors]}, {}
        heap = list[tuple[float, int, int, int, float]]()  # minus value, order, parent, token, confidence
        values, expected = [1.0], 0.0

        def open_candidates(node: int, path: tuple[int, ...]) -> None:
            best: dict[int, float] = {}
            found = self._predicted[path] = [
                predictor.predictions(place)
                for predictor, place in zip(self._predictors, self._places[path], strict=True)
            ]
            for grades, predictions in zip(self._grades, found, strict=True):
                for prediction in predictions:
                    probability = grades.probability(prediction)
                    if probability > best.get(prediction.token, 0.0):
                        best[prediction.token] = probability
            value = values[node]
            for token, probability in best.items():
                if value * probability >= _LEAST:
                    heappush(heap, (-value * probability, next(order), node, token, probability))

        paths: list[tuple[int, ...]] = [()]
        closed = set[int]()  # nodes that may have no further child, where drafts are chains
        try:
            open_candidates(0, ())
            while heap:
                negative, _, parent, token, probability = heappop(heap)
                if parent in closed:
                    continue
                if not budget.admits(len(builder) - 1, expected, -negative):
                    break
                cursor.go(paths[parent])
                if not cursor.try_token(token):
                    continue
                if not text.trees:
                    closed.add(parent)
                node = builder.add(parent, token, min(probability, 1.0))
                path = (*paths[parent], token)
                paths.append(path)
                values.append(-negative)
                expected -= negative
                self._places[path] = [
                    predictor.after(place, token)
                    for predictor, place in zip(self._predictors, self._places[paths[parent]], strict=True)
                ]
                open_candidates(node, path)
        finally:
            cursor.back()
        return builder.build()

    def observe(self, verified: Verified) -> None:
        """See Session."""
        path: tuple[int, ...] = ()
        for token in verified.appended:
            places = self._places.get(path)
            if places is None:
                break
            for grades, predictions in zip(self._grades, self._predicted[path], strict=True):
                for prediction in predictions:
                    grades.count(prediction.grade, prediction.token == token)
            for predictor, place in zip(self._predictors, places, strict=True):
                predictor.learn(place, token)
            path = (*path, token)
        for predictor in self._predictors:
            predictor.observe(verified)

    def finish(self) -> None:
        """See Session."""
        for predictor in self._predictors:
            predictor.finish()
