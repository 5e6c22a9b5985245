"""Hypothesis strategies: random context-free grammars, as `Rules` and in lark's notation.

Rules are few and call each other freely, so that left, right, mutual and hidden left recursion, cycles, nullable and empty
rules, rules that are not reached and ambiguity are all common; leaves are regular languages of several characters.
"""

from __future__ import annotations

from hypothesis import strategies as st

from maskwright.grammars.charset import CharSet
from maskwright.grammars.regular import EMPTY, EPSILON, alternate, chars, concat, literal, repeat, words
from maskwright.grammars.rules import Call, Choice, Loop, Node, Rules, Sequence, Text

__all__ = ["ALPHABET", "CONTEXTUAL_ALPHABET", "LARK_ALPHABET", "contextual_grammars", "grammars", "lark_grammars"]

ALPHABET = "abé"
_NAMES = ("root", "x", "y", "z")

_LEAVES = (
    literal("a"),
    literal("b"),
    literal("ab"),
    literal("é"),
    EPSILON,
    chars(CharSet.of("ab")),
    repeat(literal("a"), 1),
    repeat(literal("ab"), 0),
    words(["a", "ab", "ba"]),
    concat(literal("a"), repeat(chars(CharSet.of("bé")), 0, 2)),
    alternate(literal("é"), repeat(literal("b"), 2, 3)),
    EMPTY,
)
_COUNTS = ((0, None), (1, None), (0, 1), (2, 2), (0, 2), (1, 3), (2, None))


@st.composite
def grammars(draw: st.DrawFn, names: tuple[str, ...] = _NAMES) -> Rules:
    """A grammar over ALPHABET whose root is names[0]; its language may be empty."""
    used = names[: draw(st.integers(1, len(names)))]
    leaf = st.sampled_from(_LEAVES).map(Text)
    call = st.sampled_from(used).map(Call)

    def wider(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        some = st.lists(inner, max_size=3).map(tuple)
        looped = st.builds(lambda item, count: Loop(item, *count), inner, st.sampled_from(_COUNTS))
        return some.map(Sequence) | some.map(Choice) | looped

    body: st.SearchStrategy[Node] = st.recursive(leaf | call, wider, max_leaves=5)
    return Rules({name: draw(body) for name in used}, used[0])


# ---------------------------------------------------------------------------------------------------------------------
# lark's notation

LARK_ALPHABET = "ab ,"
_TERMINALS = (
    '"a"', '"b"', '"ab"', '","', "/a+/", "/[ab]/", "/a|ab/", "/b+?a?/", "A", "B", '"A"i', '"a".."b"', "/a.*?b/",
)  # fmt: skip
_OPERATORS = ("", "", "?", "*", "+", " ~ 2", " ~ 0..2")


@st.composite
def lark_grammars(draw: st.DrawFn) -> str:
    """A grammar over LARK_ALPHABET with templates, groups, terminals that overlap and, often, ignored blanks."""
    rules = ("start", "x", "_y")[: draw(st.integers(1, 3))]
    atoms = st.sampled_from((*_TERMINALS, *rules, "pair{A}", "pair{x}" if "x" in rules else "pair{B}"))

    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        several = st.lists(inner, min_size=1, max_size=3)
        group = several.map(lambda items: f"({' | '.join(items)})")
        optional = several.map(lambda items: f"[{' '.join(items)}]")
        return several.map(" ".join) | st.builds("{}{}".format, group, st.sampled_from(_OPERATORS)) | optional

    body = st.recursive(atoms, wider, max_leaves=4)
    lines = [f"{name}: {' | '.join(draw(st.lists(body, min_size=1, max_size=2)))}" for name in rules]
    lines += ['pair{t}: t | t "," t', 'A: "a" B?', "B: /b/"]
    lines += draw(st.sampled_from(([], ['%ignore " "'], ["%ignore / +/"], ['%ignore " "', "%ignore /,+/"])))
    return "\n".join(lines)


CONTEXTUAL_ALPHABET = "ab. "
_OVERLAPPING = (
    '"a"', '"b"', '"ab"', '"."', '".."', "/a+/", "/[ab]+/", "/a|ab/", "/b+?a?/", "/a.*?b/", r"/a(\.a)?/", r"/\.+/", '"aa"',
    '"ba"', "/b(a.)*b/", '"A"i', "/a*b/", r"/\.[ab]*\./", "/a[ab]b/", "/ab? ?a/",
)  # fmt: skip


@st.composite
def contextual_grammars(draw: st.DrawFn) -> str:
    """A grammar over CONTEXTUAL_ALPHABET whose terminals begin alike, with priorities; many are not LALR(1)."""
    names = [f"T{number}" for number in range(draw(st.integers(2, 5)))]
    terminal = st.sampled_from(_OVERLAPPING)
    rules = ("start", "x", "y")[: draw(st.integers(1, 3))]
    atom = st.sampled_from(names) | terminal | st.sampled_from(rules)
    group = st.lists(atom, min_size=1, max_size=2).map(lambda items: f"({' '.join(items)})")
    looped = st.builds("{}{}".format, group, st.sampled_from("?*+"))
    body = st.lists(atom | atom | looped, min_size=1, max_size=3).map(" ".join)
    priority = st.sampled_from(("", "", "", ".1", ".-1"))
    lines = [f"{name}{draw(priority)}: {draw(terminal)}" for name in names]
    alternatives = st.lists(body, min_size=1, max_size=3)
    lines += [f"{rule}{draw(priority)}: {' | '.join(draw(alternatives))}" for rule in rules]
    ignored = ([], ['%ignore " "'], ['%ignore " "'], ["%ignore /[ .]+/"], ['%ignore " "', r"%ignore /\.a*\./"])
    return "\n".join([*lines, *draw(st.sampled_from(ignored))])
