"""What a JSON value may look like: orders of members, spellings of numbers and characters, white space."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

__all__ = ["orders", "spelled"]


def orders(value: Any) -> Iterator[Any]:
    """The value with the members of its objects in every order."""
    if isinstance(value, list):
        yield from map(list, itertools.product(*map(orders, value)))
    elif isinstance(value, dict):
        for keys in itertools.permutations(value):
            for members in itertools.product(*(orders(value[key]) for key in keys)):
                yield dict(zip(keys, members, strict=True))
    else:
        yield value


def spelled(value: Any, rng: random.Random) -> str:
    """A JSON text of the value: members in any order, with white space, any spelling of numbers and characters."""

    def space() -> str:
        return rng.choice(("", "", "", " ", "\n", "\t "))

    if isinstance(value, list):
        items = [spelled(item, rng) for item in value]
        return f"[{space()}{f'{space()},{space()}'.join(items)}{space()}]"
    if isinstance(value, dict):
        keys = rng.sample([*value], len(value))
        members = [f"{spelled(key, rng)}{space()}:{space()}{spelled(value[key], rng)}" for key in keys]
        return f"{{{space()}{f'{space()},{space()}'.join(members)}{space()}}}"
    if isinstance(value, str):
        return '"' + "".join(_character(c, rng) for c in value) + '"'
    if isinstance(value, bool) or value is None or rng.random() < 0.5:
        return json.dumps(value)
    exact, shift = Decimal(repr(value)), rng.randint(-3, 3)
    plain = format(exact.scaleb(-shift), "f")
    zeros = rng.choice(("", "0", "00"))
    plain += zeros if "." in plain else f".{zeros}" if zeros else ""
    return f"{plain}{rng.choice('eE')}{rng.choice(('', '+')) if shift >= 0 else ''}{shift}" if shift else plain


def _character(character: str, rng: random.Random) -> str:
    plain = json.dumps(character, ensure_ascii=False)[1:-1]
    escaped = "".join(f"\\u{unit:04x}" for unit in _units(character))
    return rng.choice((plain, plain, plain, escaped, escaped.upper().replace("\\U", "\\u")))


def _units(character: str) -> list[int]:
    """UTF-16."""
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
