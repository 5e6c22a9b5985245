"""A JSON value whose text has begun: what it holds so far, and which values it may still become.

Values are told apart by their identity (grammars/schema_constants.py). A `Partial` has the containers that are open, each
with what is complete in it, and the bytes of the scalar or key that is being written. White space makes no difference,
nor does the order of an object's members; of members with one key the last counts, as JSON readers have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from maskwright.compile.distinct import Identity

__all__ = ["MISSING", "SCALAR", "WHITESPACE", "Partial", "feed", "following", "may_become", "number_ended"]

MISSING: Any = object()
WHITESPACE = frozenset(b" \t\r\n")
SCALAR = frozenset(b"+-.0123456789abcdefghijklmnopqrstuvwxyzE")
_STRUCTURE = frozenset(b' \t\r\n[]{},:"-0123456789tfn')
_IN_NUMBER = frozenset(b"+-.0123456789eE \t\r\n,]}")
_LITERALS: dict[bytes, Identity] = {b"null": (None,), b"true": (True,), b"false": (False,)}
_SHORT = {'"': b'\\"', "\\": b"\\\\", "/": b"\\/", "\b": b"\\b", "\f": b"\\f", "\n": b"\\n", "\r": b"\\r", "\t": b"\\t"}
_UNFINISHED = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?\Z")
_MAX_ZEROS = 450  # at the end of a fraction; more make no difference to any number


class Open(NamedTuple):
    """A container that is open.

    Attributes:
        below: the one around it.
        members: of an array a tuple of items, of an object a frozenset of (key, value).
        key: of an object, the key whose value is missing.
        more: whether the last that was read is a comma.
    """

    below: Open | None
    members: tuple[Identity, ...] | frozenset[tuple[str, Identity]]
    key: str | None = None
    more: bool = False

    @property
    def is_object(self) -> bool:
        return isinstance(self.members, frozenset)


class Partial(NamedTuple):
    """A value that has begun.

    Attributes:
        top: the innermost open container.
        token: the bytes of the scalar or key that is being written.
        value: the identity of the whole value when it is complete, else MISSING.
    """

    top: Open | None = None
    token: bytes = b""
    value: Any = MISSING

    @property
    def in_string(self) -> bool:
        return self.token[:1] == b'"'

    @property
    def depth(self) -> int:
        """How many containers are open."""
        found, container = 0, self.top
        while container is not None:
            found, container = found + 1, container.below
        return found

    @property
    def key(self) -> Any:
        """Equal for texts that make no difference, where the same may follow: 1.50e01 and 15e1 in front of another digit."""
        mantissa, mark, exponent = self.token.lower().partition(b"e")
        if not mark or mantissa[:1] not in b"-0123456789":
            return self
        sign, digits, place = Decimal(mantissa.decode()).as_tuple()
        significant = "".join(map(str, digits)).lstrip("0")
        if not significant:
            return self.top, sign, 0
        kept = significant.rstrip("0")
        assert isinstance(place, int)
        unsigned = exponent.lstrip(b"+-").lstrip(b"0")
        return self.top, sign, kept, place + len(significant) - len(kept), exponent[:1] == b"-", unsigned


def feed(partial: Partial, byte: int) -> Partial:
    """`partial` after one more byte, one that a JSON text may have there. (A number at the top does not end by itself.)"""
    token = partial.token
    if token:
        if token[0] == 0x22:
            if byte == 0x22 and not _escapes(token):
                return _ended(partial.top, json.loads(token + b'"'), is_string=True)
            return Partial(partial.top, token + bytes((byte,)))
        if byte in SCALAR:
            token += bytes((byte,))
            literal = _LITERALS.get(token)
            return Partial(partial.top, _shortened(token)) if literal is None else _ended(partial.top, literal)
        partial = number_ended(partial)
    top = partial.top
    if byte in WHITESPACE or byte == 0x3A:
        return partial
    if byte == 0x2C:
        assert top is not None
        return Partial(top._replace(more=True))
    if byte == 0x5B or byte == 0x7B:
        return Partial(Open(top, () if byte == 0x5B else frozenset()))
    if byte == 0x5D or byte == 0x7D:
        assert top is not None
        return _ended(top.below, ("array" if byte == 0x5D else "object", top.members))
    return Partial(top, bytes((byte,)))


def number_ended(partial: Partial) -> Partial:
    """`partial`, whose token is a number, after the end of that number."""
    return _ended(partial.top, Decimal(partial.token.decode()))


def _ended(top: Open | None, value: Identity, is_string: bool = False) -> Partial:
    """The end of a value or key inside the container `top`."""
    if top is None:
        return Partial(None, b"", value)
    if not isinstance(top.members, frozenset):
        return Partial(Open(top.below, (*top.members, value)))
    if top.key is None:
        assert is_string and isinstance(value, str)
        return Partial(Open(top.below, top.members, value, top.more))
    others = frozenset(member for member in top.members if member[0] != top.key)
    return Partial(Open(top.below, others | {(top.key, value)}))


def _escapes(text: bytes) -> bool:
    """Whether the last byte of `text` is a backslash that escapes what follows."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _shortened(token: bytes) -> bytes:
    """A number that has begun, without zeros that make no difference: so there are few different ones."""
    if token.endswith(b"0" * _MAX_ZEROS) and b"." in token and b"e" not in token.lower():
        return token.rstrip(b"0") + b"0" * (_MAX_ZEROS - 1)
    return token


# What it may become


def may_become(partial: Partial, values: Iterable[Identity], any_number: bool = True) -> tuple[Identity, ...]:
    """Those of `values` that a text of `partial` may be completed to; perhaps too many, never too few.

    Args:
        any_number: whether numbers have any spelling; else an exponent follows one digit and its fraction only.
    """
    if partial.top is None and partial.value is not MISSING:
        return tuple(value for value in values if value == partial.value)
    containers = _containers(partial)
    token = partial.token
    if not token:
        return tuple(value for value in values if _at(containers, value) is not MISSING)
    if partial.in_string:
        characters, tip = _characters(token)
        if not containers and not tip:
            return tuple(value for value in values if isinstance(value, str) and value.startswith(characters))
        return tuple(
            value
            for value in values
            if any(_continues(text, characters, tip) for text in _texts(_at(containers, value)))
        )
    return tuple(value for value in values if _scalar_fits(token, _at(containers, value), any_number))


def following(partial: Partial | None, values: Iterable[Identity]) -> frozenset[int]:
    """The bytes after which `partial` may still become one of `values` (or, None, begin one); perhaps too many."""
    if partial is None or not partial.token:
        return _STRUCTURE
    if not partial.in_string:
        return _IN_NUMBER if partial.token[0] in b"-0123456789" else SCALAR
    containers = _containers(partial)
    characters, tip = _characters(partial.token)
    found = set[int]()
    for text in {text for value in values for text in _texts(_at(containers, value))}:
        if not text.startswith(characters):
            continue
        if len(text) == len(characters):
            found.add(0x22)
            continue
        for spelled in _spellings(text[len(characters)]):
            if spelled.startswith(_lowered(tip)) and len(spelled) > len(tip):
                byte = spelled[len(tip)]
                found.add(byte)
                if tip[:2] == b"\\u":
                    found.update(chr(byte).upper().encode())
    return frozenset(found)


def _containers(partial: Partial) -> list[Open]:
    """The open containers, innermost first."""
    found, top = [], partial.top
    while top is not None:
        found.append(top)
        top = top.below
    return found


def _at(containers: list[Open], value: Any) -> Any:
    """What of `value` stands where the open `containers` (innermost first) are being written.

    MISSING where `value` does not have what is complete in them, or nothing more. Where a key is due, the keys that are
    left, as a frozenset; where any end or more would do, None.
    """
    for depth in range(len(containers) - 1, -1, -1):
        container = containers[depth]
        if not isinstance(value, tuple) or len(value) != 2:
            return MISSING
        members, known = value[1], container.members
        if isinstance(known, frozenset):
            if value[0] != "object" or not known <= members:
                return MISSING
            if container.key is None:
                if container.more and len(members) == len(known):
                    return MISSING
                names = {name for name, _ in known}
                return frozenset(name for name, _ in members if name not in names)
            value = next((member for name, member in members if name == container.key), MISSING)
            if value is MISSING:
                return MISSING
        else:
            if value[0] != "array" or members[: len(known)] != known:
                return MISSING
            if len(members) == len(known):
                return MISSING if depth or container.more else None
            value = members[len(known)]
    return value


def _texts(value: Any) -> Iterable[str]:
    """The strings or keys among what `_at` has found."""
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, frozenset) else ()


def _scalar_fits(token: bytes, value: Any, any_number: bool) -> bool:
    if token[0] in b"tfn":
        return any(word.startswith(token) and identity == value for word, identity in _LITERALS.items())
    if not isinstance(value, Decimal):
        return False
    text = token.decode().lower()
    return _number_fits(text, value) and (any_number or "e" in text or _plainly_fits(text.lstrip("-"), abs(value)))


def _plainly_fits(unsigned: str, value: Decimal) -> bool:
    """Whether a number that begins with `unsigned` may be equal to `value`, if an exponent follows one digit and its
    fraction only."""
    whole, point, fraction = unsigned.partition(".")
    if len(whole) == 1 and whole != "0":
        return True
    wanted, _, digits = format(value, "f").partition(".")
    if not point:
        return wanted.startswith(whole)
    return wanted == whole and digits.ljust(len(fraction), "0").startswith(fraction)


def _number_fits(token: str, value: Decimal) -> bool:
    """Whether a number that begins with `token` may be equal to `value`, whatever exponent it has."""
    negative, token = token.startswith("-"), token.lstrip("-")
    if value and (value < 0) != negative:
        return False
    mantissa, mark, exponent = token.partition("e")
    digits = mantissa.replace(".", "").lstrip("0")
    wanted = "".join(map(str, value.as_tuple().digits)).strip("0")
    if not mark:
        return digits[: len(wanted)] == wanted[: len(digits)] and not digits[len(wanted) :].strip("0")
    if digits.rstrip("0") != wanted:
        return False
    if not wanted:
        return True
    unsigned = exponent.lstrip("+-").lstrip("0")
    needed = value.adjusted() - Decimal(mantissa).adjusted()
    if needed and exponent and (exponent[0] == "-") != (needed < 0):
        return False
    return str(abs(needed)).startswith(unsigned) if needed else not unsigned


def _characters(token: bytes) -> tuple[str, bytes]:
    """The characters of a string that has begun, and the first bytes of the one that has not ended."""
    body, tip = token[1:], b""
    found = _UNFINISHED.search(body)
    while found is not None and _escapes(body[: found.start()]):
        found = _UNFINISHED.search(body, found.start() + 1)
    if found is not None:
        body, tip = body[: found.start()], body[found.start() :]
    else:
        for length in range(1, min(4, len(body) + 1)):
            lead = body[-length]
            if lead >= 0xC0:
                if length < (2 if lead < 0xE0 else 3 if lead < 0xF0 else 4):
                    body, tip = body[:-length], body[-length:]
                break
            if lead < 0x80:
                break
    return json.loads(b'"' + body + b'"'), tip


def _spellings(character: str) -> tuple[bytes, ...]:
    """The ways to write a character inside a string; hexadecimal digits in lower case."""
    units = character.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)).encode()
    short = _SHORT.get(character)
    return (character.encode(), escaped) if short is None else (character.encode(), escaped, short)


def _continues(text: str, characters: str, tip: bytes) -> bool:
    """Whether `text` begins with `characters`, and goes on with a character whose spelling begins with `tip`."""
    if not text.startswith(characters):
        return False
    if not tip:
        return True
    if len(text) == len(characters):
        return False
    return any(spelled.startswith(_lowered(tip)) for spelled in _spellings(text[len(characters)]))


def _lowered(tip: bytes) -> bytes:
    return tip.lower() if tip[:2] == b"\\u" else tip
