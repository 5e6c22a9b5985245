"""A digest of what names a row (compile/automaton.py: Owner.share_key) that is the same in every process.

Python's hash() is not: it depends on the process, and it may be equal for what is not. Here a value is written out, each
kind of it with a tag and each text with its length, so that different values are written differently. Of a language every
node is digested once, however often it occurs; the parts of a union or intersection are sorted. Whatever is not known
here has no digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable

from maskwright.compile.spelling import Spelling
from maskwright.grammars.charset import CharSet
from maskwright.grammars.regular_nodes import Chars, Empty, Epsilon, Regex, Words
from maskwright.grammars.regular_operators import Alternate, Complement, Concat, Intersect, Repeat

__all__ = ["content_digest"]

_MAX_NODES = 2000  # of a language; a larger one costs more than to compute its row


def content_digest(content: Hashable) -> bytes | None:
    """32 bytes, equal for equal contents only; None where there is none."""
    try:
        return _digest(content, {})
    except _NoDigest:
        return None


class _NoDigest(Exception):
    """Something has no digest."""


def _digest(value: object, known: dict[Regex, bytes]) -> bytes:
    if isinstance(value, Regex):
        found = known.get(value)
        if found is None:
            if len(known) >= _MAX_NODES:
                raise _NoDigest
            found = known[value] = _joined(type(value).__name__, _parts(value, known))
        return found
    if value is None or isinstance(value, bool | int | str):
        return _joined(type(value).__name__, [str(value).encode("utf-8", "surrogatepass")])
    if isinstance(value, tuple):
        return _joined("tuple", (_digest(item, known) for item in value))
    if isinstance(value, Spelling):
        return _joined("Spelling", [_digest(value.escapes, known), _digest(value.ensure_ascii, known)])
    raise _NoDigest


def _parts(node: Regex, known: dict[Regex, bytes]) -> Iterable[bytes]:
    """What a node is made of."""
    match node:
        case Empty() | Epsilon():
            return ()
        case Chars(CharSet() as characters):
            return [repr(characters.ranges).encode()]
        case Words():
            words = node.remaining()
            if len(words) > _MAX_NODES:
                raise _NoDigest
            return [word.encode("utf-8", "surrogatepass") for word in words]
        case Concat(parts):
            return [_digest(part, known) for part in parts]
        case Alternate(parts) | Intersect(parts):
            return sorted(_digest(part, known) for part in parts)
        case Complement(item):
            return [_digest(item, known)]
        case Repeat(item, low, high):
            return [_digest(item, known), _digest(low, known), _digest(high, known)]
    raise _NoDigest


def _joined(tag: str, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(tag.encode() + b"\0")
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
