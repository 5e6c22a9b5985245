"""Periodic sets of decimals: the multiples of a number, and what and, or, not make of them.

    multiples of 3            units of 1, of every 3 the first
    not a multiple of 3       units of 1, of every 3 the others; and what lies between the units
    multiples of 2 and 0.3    units of 0.1, of every 60 the first

A unit is 10**-scale, and which units belong to the set is repeated every `modulus` of them, on both sides of zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import lcm

from maskwright.grammars.errors import LimitExceeded

__all__ = ["MAX_MODULUS", "Step"]

MAX_MODULUS = 1_000_000  # without its factors of ten where nothing but multiples belong: its remainders are states

_MAX_LISTED_DIGITS = 3  # of a number of units: so many numbers are looked at one by one

_OPPOSITE = bytes((1, 0)).ljust(256, b"\0")


@dataclass(frozen=True)
class Step:
    """A periodic set of decimals.

    Attributes:
        modulus, scale: see the module.
        residues: by the remainder of a number of units by the modulus, 1 where it belongs to the set and 0 where not;
            None: the multiples of the modulus belong. (Then `scale` is the least that makes `modulus` an integer.)
        between: whether the decimals belong that are no whole number of units.
    """

    modulus: int
    scale: int
    residues: bytes | None = None
    between: bool = False

    @property
    def is_multiple(self) -> bool:
        """Whether these are the multiples of one number."""
        return self.residues is None

    @property
    def is_empty(self) -> bool:
        """Whether nothing belongs to the set."""
        return not self.between and self.residues is not None and 1 not in self.residues

    @property
    def is_everything(self) -> bool:
        """Whether every decimal belongs to the set."""
        return self.between and self.residues is not None and 0 not in self.residues

    def has(self, units: int) -> bool:
        """Whether a number of units belongs to the set."""
        remainder = units % self.modulus
        return not remainder if self.residues is None else bool(self.residues[remainder])

    # ---------------------------------------------------------------- algebra

    def __and__(self, other: Step) -> Step:
        return self.both(other)

    def both(self, other: Step, farthest: Decimal | None = None) -> Step:
        """What is in both sets, up to a distance from zero; None: everywhere.

        Raises:
            LimitExceeded: its modulus is beyond MAX_MODULUS.
        """
        scale, modulus = self._common(other)
        if farthest is not None and farthest.adjusted() + scale <= _MAX_LISTED_DIGITS:
            last = int(farthest.scaleb(scale))
            if 2 * last + 1 < modulus:  # then each number of units has a remainder of its own
                units = (*range(last + 1), *range(-last, 0))
                listed = bytes(self._has(unit, scale) and other._has(unit, scale) for unit in units)
                return Step(len(listed), scale, listed, self.between and other.between).simplified()
        if self.is_multiple and other.is_multiple:
            while scale and modulus % 10 == 0:
                scale, modulus = scale - 1, modulus // 10
            return Step(modulus, scale)
        both = _bits(self.refined(scale, modulus)) & _bits(other.refined(scale, modulus))
        return Step(modulus, scale, both.to_bytes(modulus), self.between and other.between).simplified()

    def __or__(self, other: Step) -> Step:
        scale, modulus = self._common(other)
        some = _bits(self.refined(scale, modulus)) | _bits(other.refined(scale, modulus))
        return Step(modulus, scale, some.to_bytes(modulus), self.between or other.between).simplified()

    def __invert__(self) -> Step:
        others = self.refined(self.scale, self.modulus).translate(_OPPOSITE)
        return Step(self.modulus, self.scale, others, not self.between).simplified()

    def _has(self, units: int, scale: int) -> bool:
        """Whether a number of finer units is in the set."""
        whole, rest = divmod(units, 10 ** (scale - self.scale))
        return self.between if rest else self.has(whole)

    def _common(self, other: Step) -> tuple[int, int]:
        """Scale and modulus that both sets can be written with."""
        scale = max(self.scale, other.scale)
        return scale, lcm(*(step.modulus * 10 ** (scale - step.scale) for step in (self, other)))

    def refined(self, scale: int, modulus: int) -> bytes:
        """The residues with a finer unit and a modulus that is a multiple of this one's in that unit.

        Raises:
            LimitExceeded: `modulus` is beyond MAX_MODULUS.
        """
        if modulus > MAX_MODULUS:
            raise LimitExceeded("max_modulus", modulus, MAX_MODULUS, what="a combination of multipleOf")
        own = self._flags
        finer = 10 ** (scale - self.scale)
        if finer > 1:
            gap = bytes((self.between,)) * (finer - 1)
            own = b"".join(bytes((flag,)) + gap for flag in own)
        return own * (modulus // len(own))

    @cached_property
    def _flags(self) -> bytes:
        return b"\1".ljust(self.modulus, b"\0") if self.residues is None else self.residues

    def simplified(self) -> Step:
        """The same set with the largest unit and the least modulus."""
        flags, scale = _period(self._flags), self.scale
        while scale:
            wide = flags * (lcm(len(flags), 10) // len(flags))
            others = bytearray(wide)
            del others[::10]
            if any(flag != self.between for flag in set(others)):
                break
            flags, scale = _period(wide[::10]), scale - 1
        is_multiple = flags[0] == 1 and not self.between and 1 not in flags[1:]
        return Step(len(flags), scale, None if is_multiple else flags, self.between)

    def mirrored(self) -> Step:
        """The negated decimals."""
        if self.residues is None:
            return self
        return Step(self.modulus, self.scale, self.residues[:1] + self.residues[:0:-1], self.between)

    def scaled(self, scale: int) -> Step:
        """The same set in units of 10**-scale, which is finer."""
        if scale == self.scale:
            return self
        modulus = self.modulus * 10 ** (scale - self.scale)
        return Step(modulus, scale, self.refined(scale, modulus), self.between)

    def powers(self, first: int, last: int) -> Iterator[tuple[Step, list[int]]]:
        """The integers u with u * 10**e in the set, and the exponents e of first >= 0 to last for which that is so.

        Sets are told apart by what they hold, and left out where that is nothing.
        """
        seen: dict[bytes, int] = {}
        flags, order = _period(self._flags), list[bytes]()
        while flags not in seen:  # what remainders ten times as large are, and so on, until that repeats
            seen[flags] = len(order)
            order.append(flags)
            flags = _period((flags * 10)[::10])
        begin = seen[flags]
        found: dict[bytes, list[int]] = {}
        for wanted in range(first, last + 1):
            at = wanted + self.scale
            if at >= len(order):
                at = begin + (at - begin) % (len(order) - begin)
            found.setdefault(order[at], []).append(wanted)
        for held, exponents in found.items():
            if 1 in held:
                yield Step(len(held), 0, held).simplified(), exponents


def _bits(flags: bytes) -> int:
    return int.from_bytes(flags)


def _period(flags: bytes) -> bytes:
    """The shortest part whose repetition `flags` is."""
    left, factor = len(flags), 2
    while factor * factor <= left:
        while left % factor == 0:
            left //= factor
            flags = _shortened(flags, factor)
        factor += 1
    return _shortened(flags, left) if left > 1 else flags


def _shortened(flags: bytes, factor: int) -> bytes:
    """`flags`, or its first part where it repeats that so many times."""
    part = len(flags) // factor
    return flags[:part] if flags[:part] * factor == flags else flags
