"""How many nodes a tree is worth: fixed, until a rejection is likely, or by what verifying them takes.

    policy       one more node where                                            source
    fixed        there are fewer than so many                                    -
    threshold    the probability that it is not reached is at most h             SpecDec++, Huang et al. 2024
    goodput      it raises expected tokens over predicted time                   SmartSpec, Liu et al. 2024

A budget decides before a node is drawn, from what was drawn above it. It never takes back a node for its own low
confidence: for drafts that are judged by ratio that would change what is emitted.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from maskwright.runtime.drafter import Budget

__all__ = ["BudgetPolicy", "FixedBudget", "Goodput", "GoodputBudget", "ThresholdBudget"]


class BudgetPolicy(Protocol):
    """Budgets for the trees of many texts."""

    def budget(self, where: Hashable) -> Budget:
        """For a tree at a class of grammar states."""

    def observe(self, where: Hashable, expected: float, taken: int, nodes: int, seconds: float | None) -> None:
        """What came of a tree of so many nodes: nodes expected to be taken, taken, and the time of the whole step.

        The time is None where it tells nothing about trees, since a prompt was read.
        """


@dataclass(frozen=True)
class FixedBudget:
    """So many nodes.

    Attributes:
        nodes: at most, without the root.
    """

    nodes: int

    def budget(self, where: Hashable) -> Budget:
        """See BudgetPolicy."""
        return self

    def admits(self, nodes: int, expected: float, value: float) -> bool:
        """See Budget."""
        return nodes < self.nodes

    def observe(self, where: Hashable, expected: float, taken: int, nodes: int, seconds: float | None) -> None:
        """Nothing is learned."""


@dataclass(frozen=True)
class ThresholdBudget(FixedBudget):
    """Nodes for as long as a rejection on the way to them is not too likely.

    Attributes:
        rejection: the probability h above which drafting stops.
    """

    rejection: float = 0.7

    def admits(self, nodes: int, expected: float, value: float) -> bool:
        """See Budget."""
        return nodes < self.nodes and 1.0 - value <= self.rejection


@dataclass(slots=True)
class _Class:
    """What is known of a class of grammar states; sums fade.

    Attributes:
        judged: nodes taken, and expected to be.
        gained: nodes taken, and steps in which drafts were looked for; slower to fade.
        nodes: drafted in these steps.
        idle: such steps since the last one with a node.
        resting: whether the last budget was none.
    """

    judged: tuple[float, float] = (0.0, 0.0)
    gained: tuple[float, float] = (0.0, 0.0)
    nodes: float = 0.0
    idle: int = 0
    resting: bool = False


class GoodputBudget:
    """As many nodes as raise the expected tokens per second, by times measured on the way.

    The time of a step is taken for linear in the nodes, a + b N, fitted to the steps so far; what the target takes of
    the expected, for a proportion that is followed for each class of grammar states. Where even the first node lowers the
    goodput nothing is drafted, and now and then a few nodes all the same, to notice when that changes.

    Looking for drafts takes time, too, whether or not any are found. So some steps rest, and where those with drafts do not
    give more tokens a second than these, nearly all do.
    """

    def __init__(self, nodes: int = 64) -> None:
        """At most so many nodes."""
        self.most = nodes
        self.time = _LinearTime()
        self._asked = 0
        self._classes: dict[Hashable, _Class] = {}
        self._overall = (4.0, 4.0)  # taken and expected nodes
        self._rested = (0.0, 0.0)  # steps, and their seconds

    def budget(self, where: Hashable) -> Budget:
        """See BudgetPolicy."""
        self._asked += 1
        known = self._class(where)
        known.resting = self._rests(known)
        if known.resting:
            return _NOTHING
        # Equal sizes would say nothing about what a node takes.
        most = self.most if self._asked % _SHORTENED else 1 + self._asked // _SHORTENED % _SHORT
        return Goodput(most, self.trust(where), *self.time.line(), least=_TRIAL if known.idle >= _IDLE else 0)

    def _class(self, where: Hashable) -> _Class:
        """What is known of a class, which is then the one seen last."""
        known = self._classes.pop(where) if where in self._classes else _Class()
        self._classes[where] = known
        if len(self._classes) > _MOST_CLASSES:
            del self._classes[next(iter(self._classes))]
        return known

    def _rests(self, known: _Class) -> bool:
        """Whether not to draft: now and then to know how long such a step takes, and mostly where drafts do not pay."""
        gained, steps = known.gained
        if steps < _ENOUGH:
            return False
        count, seconds = self._rested
        if count < 2:
            return self._asked % _SHORTENED == 1
        pays = (1.0 + gained / steps) * seconds / count > self.time.predicted(known.nodes / steps)
        return self._asked % _RARELY == 1 if pays else self._asked % _RETRIED > 0

    def trust(self, where: Hashable) -> float:
        """By what estimates of a class of states are to be multiplied."""
        taken, expected = self._classes[where].judged if where in self._classes else (0.0, 0.0)
        overall = self._overall[0] / self._overall[1]
        return min((taken + _DOUBT * overall) / (expected + _DOUBT), 1.5)

    def observe(self, where: Hashable, expected: float, taken: int, nodes: int, seconds: float | None) -> None:
        """See BudgetPolicy."""
        known = self._class(where)
        if known.resting:
            if seconds is not None:
                self._rested = _faded(self._rested, (1.0, min(seconds, _ODD * self.time.predicted(0))), _SLOW_FADE)
            return
        known.gained = _faded(known.gained, (taken, 1.0), _SLOW_FADE)
        known.nodes = known.nodes * _SLOW_FADE + nodes
        if seconds is not None:
            self.time.add(nodes, seconds)
        if not nodes:
            known.idle += 1
            return
        known.idle = 0
        known.judged = _faded(known.judged, (taken, expected), _FADE)
        self._overall = _faded(self._overall, (taken, expected), _SLOW_FADE)


def _faded(sums: tuple[float, float], entry: tuple[float, float], fade: float) -> tuple[float, float]:
    """Two sums with one entry more; older ones fade."""
    return sums[0] * fade + entry[0], sums[1] * fade + entry[1]


_NOTHING = FixedBudget(0)


@dataclass(frozen=True, slots=True)
class Goodput:
    """The budget of one tree: tokens expected, over seconds."""

    most: int
    trust: float
    fixed: float
    slope: float
    least: int = 0

    def admits(self, nodes: int, expected: float, value: float) -> bool:
        """See Budget."""
        if nodes < self.least:
            return True
        if nodes >= self.most:
            return False
        now = (1.0 + self.trust * expected) / (self.fixed + self.slope * nodes)
        return self.trust * value / self.slope > now if self.slope > 0 else True


_FADE, _SLOW_FADE = 0.9, 0.98
_DOUBT = 1.0  # expected nodes that a class's own figures count against the overall ones
_MOST_CLASSES = 4096
_IDLE, _TRIAL = 24, 3
_RARELY, _RETRIED = 128, 32  # of so many steps one rests where drafts pay, and one does not where they do not
_SHORTENED, _SHORT = 16, 4  # every so many-th tree has at most 1 to so many nodes
_USUAL_SLOPE = 0.025  # of a node, in units of a step without any, before enough was measured


class _LinearTime:
    """Least squares of seconds over nodes; older steps fade."""

    def __init__(self) -> None:
        self._sums = (0.0,) * 5  # of 1, n, t, n n, n t

    def add(self, nodes: int, seconds: float) -> None:
        """A step's."""
        if self._sums[0] >= _ENOUGH and seconds > _ODD * self.predicted(nodes):
            # The machine was busy with something else; or steps do take longer now, which this follows step by step.
            count, n, t, nn, nt = self._sums
            self._sums = count, n, t * _CREEP, nn, nt * _CREEP
            return
        parts = (1.0, nodes, seconds, nodes * nodes, nodes * seconds)
        self._sums = tuple(0.99 * old + new for old, new in zip(self._sums, parts, strict=True))  # type: ignore[assignment]

    def predicted(self, nodes: float) -> float:
        """Seconds of a step with so many nodes."""
        fixed, slope = self.line()
        return fixed + slope * nodes

    def line(self) -> tuple[float, float]:
        """Seconds of a step without nodes, and of each node."""
        count, n, t, nn, nt = self._sums
        if not count:
            return 1.0, _USUAL_SLOPE
        spread = nn * count - n * n
        slope = (nt * count - n * t) / spread if spread > 1e-9 else 0.0
        usual = t / count / (1.0 / _USUAL_SLOPE + n / count)
        # Few or equal sizes tell little about the slope.
        weight = min(spread / (count * count) / 16.0, 1.0) * min(count / _ENOUGH, 1.0)
        slope = max(weight * slope + (1 - weight) * usual, 0.2 * usual)
        return max(t / count - slope * n / count, 0.1 * t / count), slope


_ENOUGH = 12  # steps
_ODD, _CREEP = 1.5, 1.01
