"""The coarsest partition: which of many mutually defined things are equal, by what they are made of.

    coarsest(3, signature) -> [0, 1, 0]        things 0 and 2 are equal

Moore's refinement ("Gedanken-experiments on sequential machines", 1956), for automata and for the rules of grammars alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

__all__ = ["by_class", "coarsest"]


def coarsest(count: int, signature: Callable[[int, Sequence[int]], Hashable]) -> list[int]:
    """The class of each of `count` things, classes numbered from 0 in the order in which they are first met.

    Args:
        count: how many things there are.
        signature: signature(thing, classes) says what a thing is, with `classes[other]` for the others in it. All things
            are of one class first; two of a class stay so as long as their signatures are equal.
    """
    classes, found = [0] * count, min(count, 1)
    while True:
        numbers: dict[Hashable, int] = {}
        refined = [
            numbers.setdefault((classes[thing], signature(thing, classes)), len(numbers)) for thing in range(count)
        ]
        if len(numbers) == found:
            return refined
        classes, found = refined, len(numbers)


def by_class(edges: Iterable[tuple[int, int]], classes: Sequence[int]) -> dict[int, int]:
    """By class of states, the letters (bits) of the edges (letters, state) that lead there."""
    found: dict[int, int] = {}
    for bits, target in edges:
        found[classes[target]] = found.get(classes[target], 0) | bits
    return found
