"""Random regular expressions from the whole dialect, for tests; and their meaning to Node.js, an oracle of ECMA-262."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["FLAGGED", "MODERN", "NODE", "PATTERNS", "PLAIN_PATTERNS", "TEXTS", "by_node"]

TEXTS = ["".join(text) for size in range(5) for text in itertools.product("ab-", repeat=size)]
TEXTS += [
    "a\nb",
    "ab\n",
    "\nab",
    "\n",
    "A",
    "Ab",
    "aB-",
    "é",
    "aé",
    "éa-b",
    "abababab",
    "a-a-b-ab",
    "ba-ab-aab",
    "-a--b-",
]

CHARACTERS = st.sampled_from(
    ["a", "b", "-", ".", "[ab]", "[^a]", r"\w", r"\W", "ab", r"[\w-]", r"[^\W]", r"\x61", r"\S"]
)
ASSERTIONS = st.sampled_from(["^", "$", r"\b", r"\B", ""])
COUNTS = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,2}", "{2,}", "{3}", "*?", "+?", "??", "{1,2}?"])


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, COUNTS).map("(?:{0[0]}){0[1]}".format),
        inner.map("({0})".format),
    )


def _grow_around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    looks = st.sampled_from(["=", "!", "<=", "<!"])
    return st.one_of(_grow(inner), _grow(inner), st.tuples(looks, inner).map("(?{0[0]}{0[1]})".format))


def _grow_everything(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """With possessive counts and atomic groups."""
    possessive = st.tuples(
        st.sampled_from(["a", "[ab]", "(?:ab)", r"\w"]), st.sampled_from(["*+", "++", "?+", "{1,2}+"])
    )
    return st.one_of(
        _grow_around(inner),
        _grow_around(inner),
        possessive.map("".join),
        st.sampled_from(["(?>a+)", "(?>[ab]{1,2})", "(?>ab|b)", "(?>-?)"]),
    )


def _grow_flags(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(_grow_around(inner), _grow_around(inner), inner.map("(?i:{0})".format))


PLAIN_PATTERNS = st.recursive(CHARACTERS, _grow, max_leaves=8)
PATTERNS = st.recursive(st.one_of(CHARACTERS, ASSERTIONS), _grow_around, max_leaves=8)
FLAGGED = st.recursive(st.one_of(CHARACTERS, ASSERTIONS), _grow_flags, max_leaves=8)
MODERN = st.recursive(st.one_of(CHARACTERS, ASSERTIONS), _grow_everything, max_leaves=8)

NODE = shutil.which("node")

_SCRIPT = """
const [patterns, texts] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const found = (source, text) => { try { return new RegExp(source, "u").test(text) ? 1 : 0 } catch { return 2 } };
console.log(JSON.stringify(patterns.map(source => texts.map(text => found(source, text)).join(""))));
"""


def by_node(patterns: Sequence[str], texts: Sequence[str]) -> list[str]:
    """For each pattern a digit a text: 1 if it matches anywhere, 0 if not, 2 if it is no pattern with the flag u."""
    assert NODE is not None
    told = json.dumps([patterns, texts])
    run = subprocess.run([NODE, "-e", _SCRIPT], input=told, capture_output=True, text=True, check=True, timeout=600)
    found: list[str] = json.loads(run.stdout)
    return found
