"""In which order the members of an object may come.

Real texts keep the order in which a schema's author wrote its keys down, but for three things: what `required` lists
often comes first, what several schemas say of one object is told in turns, and keys without a name stand among the
optional ones. So the order is a partial one:

    properties: a, b, c, d   required: d, b      a before c, b before c; b and d in either order, before or after a
                                                 (never c, then b; never any other key, then b or d)

Every relation follows the order in which the keys are first named. So that one never breaks a rule, and whatever has
been written, the keys that may still come can all come, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from maskwright.compile.keys import KeyClass
from maskwright.grammars.ir import ObjectShape

__all__ = ["KeyOrder"]


class KeyOrder:
    """Which named keys can no longer come after a key. Sets of named keys are integers, bit n for number n.

    Of two keys in one list, `properties` or `required` of one schema, the second closes the first, unless another list
    has them the other way round, or the second is required and the first is not. Any other key closes the required ones.
    """

    def __init__(self, shapes: Iterable[ObjectShape], numbers: Mapping[str, int], named: int | None = None) -> None:
        """
        Args:
            shapes: those whose lists count are `listed`; of no shapes, any order will do.
            numbers: of the named keys, in the order in which they are first named.
            named: how many of them some shape names; to the order those behind are other keys. All by default.
        """
        listed = [shape for shape in shapes if shape.listed]
        self.required = sum(1 << numbers[key] for key in {key for shape in listed for key in shape.required})
        lists = dict.fromkeys(tuple(key for key, _ in shape.properties) for shape in listed)
        lists.update(dict.fromkeys(shape.required for shape in listed))
        self._before = self._related(list(lists), numbers)
        for number in range(len(numbers) if named is None else named, len(numbers)):
            self._before[number] = self.required

    def _related(self, lists: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> list[int]:
        """By number, the named keys that a named key closes."""
        earlier, later = [0] * len(numbers), [0] * len(numbers)
        for keys in lists:
            seen = 0
            for number in map(numbers.__getitem__, keys):
                earlier[number] |= seen
                seen |= 1 << number
            for number in map(numbers.__getitem__, keys):
                seen ^= 1 << number
                later[number] |= seen
        found = []
        for number in range(len(numbers)):
            before = earlier[number] & ~later[number] & (1 << number) - 1
            found.append(before & self.required if self.required >> number & 1 else before)
        return found

    def before(self, key: int | KeyClass) -> int:
        """The named keys, but for itself, that cannot come after a key."""
        return self._before[key] if isinstance(key, int) else self.required

    @property
    def total(self) -> bool:
        """Whether each named key closes all that are named before it."""
        return all(before == (1 << number) - 1 for number, before in enumerate(self._before))
