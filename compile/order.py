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
from operator import lt

from maskwright.compile.keys import KeyClass
from maskwright.compile.number_masks import mask_of
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.ir import ObjectShape

__all__ = ["KeyOrder"]

MAX_SHUFFLED = 1 << 14  # keys in one list that is not in the order of the others: what is kept of them is quadratic


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
        self.required = mask_of(numbers[key] for shape in listed for key in shape.required)
        lists = dict.fromkeys(tuple(key for key, _ in shape.properties) for shape in listed)
        lists.update(dict.fromkeys(shape.required for shape in listed))
        self._count, self._named = len(numbers), len(numbers) if named is None else named
        # A list in the order in which the keys are first named, as nearly all are, is its set: what is before a key is what is
        # below its number. Of the others it is kept key by key.
        self._ascending, self._earlier, self._later = list[int](), dict[int, int](), dict[int, int]()
        for keys in lists:
            listed_numbers = [numbers[key] for key in keys]
            if all(map(lt, listed_numbers, listed_numbers[1:])):
                self._ascending.append(mask_of(listed_numbers))
            else:
                self._relate(listed_numbers)

    def _relate(self, listed: Sequence[int]) -> None:
        """Keep, of each key of a list, which of its keys are before it and which behind.

        Raises:
            LimitExceeded: these are too many.
        """
        if len(listed) > MAX_SHUFFLED:
            hint = "list the names in required in the order of properties"
            raise LimitExceeded(
                "max_shuffled_keys", len(listed), MAX_SHUFFLED, what="keys listed in several orders", hint=hint
            )
        seen = 0
        for number in listed:
            self._earlier[number] = self._earlier.get(number, 0) | seen
            seen |= 1 << number
        for number in listed:
            seen ^= 1 << number
            self._later[number] = self._later.get(number, 0) | seen

    def before(self, key: int | KeyClass) -> int:
        """The named keys, but for itself, that cannot come after a key."""
        if not isinstance(key, int) or key >= self._named:
            return self.required
        found = self._earlier.get(key, 0)
        for listed in self._ascending:
            if listed >> key & 1:
                found |= listed
        found &= (1 << key) - 1
        if key in self._later:
            found &= ~self._later[key]
        return found & self.required if self.required >> key & 1 else found

    @property
    def total(self) -> bool:
        """Whether each named key closes all that are named before it."""
        everything = (1 << self._count) - 1
        if (
            self._named == self._count
            and self._ascending == [everything]
            and not self._earlier
            and self.required in (0, everything)
        ):
            return True
        return all(self.before(number) == (1 << number) - 1 for number in range(self._count))
