"""Regular languages against sets of strings, and the simplifications that keep derivatives few."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maskwright.grammars import regex
from maskwright.grammars.charset import ALL, CharSet
from maskwright.grammars.errors import InvalidError, LimitExceeded
from maskwright.grammars.regular import (
    ANY_CHAR,
    ANY_STRING,
    EMPTY,
    EPSILON,
    Alternate,
    Intersect,
    Regex,
    Repeat,
    Words,
    alternate,
    chars,
    complement,
    concat,
    example,
    extent,
    farthest_end,
    finite_words,
    intersect,
    is_empty,
    lasting,
    length_bounds,
    literal,
    matches,
    repeat,
    words,
)

# -------------------------------------------------------------------- the oracle: short strings only

LONGEST = 4
LETTERS = "abz"  # "z" stands for every other character
STRINGS = frozenset("".join(text) for size in range(LONGEST + 1) for text in itertools.product(LETTERS, repeat=size))
Sample = tuple[Regex, frozenset[str]]


def join(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    return frozenset(x + y for x in left for y in right if len(x) + len(y) <= LONGEST)


def power(item: frozenset[str], low: int, high: int | None) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    current = frozenset([""])
    last = max(low, 1) + LONGEST if high is None else high
    for count in range(last + 1):
        if count >= low:
            found |= current
        current = join(current, item)
    return found


def leaves() -> st.SearchStrategy[Sample]:
    sets = st.sampled_from(["a", "b", "ab"]).map(lambda text: (chars(CharSet.of(text)), frozenset(text)))
    literals = st.lists(st.text("ab", max_size=3), max_size=4).map(lambda found: (words(found), frozenset(found)))
    constants = st.sampled_from(
        [
            (EMPTY, frozenset()),
            (EPSILON, frozenset([""])),
            (ANY_CHAR, frozenset(LETTERS)),
            (ANY_STRING, STRINGS),
            (chars(~CharSet.of("ab")), frozenset("z")),
        ]
    )
    return st.one_of(sets, literals, constants)


def combine(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    def fold(operator, naive, parts):
        result = parts[0][1]
        for _, strings in parts[1:]:
            result = naive(result, strings)
        return operator(*(node for node, _ in parts)), result

    several = st.lists(inner, min_size=2, max_size=3)
    counts = st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 3)))
    return st.one_of(
        several.map(lambda parts: fold(concat, join, parts)),
        several.map(lambda parts: fold(alternate, frozenset.union, parts)),
        several.map(lambda parts: fold(intersect, frozenset.intersection, parts)),
        inner.map(lambda part: (complement(part[0]), STRINGS - part[1])),
        st.tuples(inner, counts).map(
            lambda drawn: (
                repeat(drawn[0][0], drawn[1][0], None if drawn[1][1] is None else sum(drawn[1])),
                power(drawn[0][1], drawn[1][0], None if drawn[1][1] is None else sum(drawn[1])),
            )
        ),
    )


SAMPLES = st.recursive(leaves(), combine, max_leaves=8)


def reachable(root: Regex, limit: int = 2000) -> list[Regex]:
    """The root and all its derivatives."""
    found = {root: None}
    pending = [root]
    while pending:
        for _, target in pending.pop().transitions():
            if target not in found:
                assert len(found) < limit
                found[target] = None
                pending.append(target)
    return list(found)


@settings(max_examples=600, deadline=None)
@given(SAMPLES)
def test_members_are_those_of_the_oracle(sample: Sample) -> None:
    node, strings = sample
    assert {text for text in STRINGS if matches(node, text)} == strings
    assert node.nullable == ("" in strings)


@settings(max_examples=300, deadline=None)
@given(SAMPLES)
def test_transitions_are_a_partition(sample: Sample) -> None:
    for node in reachable(sample[0])[:50]:
        taken = CharSet()
        targets = [target for _, target in node.transitions()]
        assert len(set(targets)) == len(targets)
        assert EMPTY not in targets
        for characters, _ in node.transitions():
            assert characters
            assert not characters & taken
            assert characters.issubset(node.letters)
            taken |= characters


@settings(max_examples=300, deadline=None)
@given(SAMPLES)
def test_questions(sample: Sample) -> None:
    node, strings = sample
    # Whether a derivative automaton of this size is empty shows in strings no longer than its number of states.
    live = any(derivative.nullable for derivative in reachable(node))
    assert is_empty(node) == (not live)
    text = example(node)
    shortest, longest = length_bounds(node)
    if text is None:
        assert not live
        assert not strings
        assert finite_words(node, 1000) == ()
        return
    assert matches(node, text)
    assert len(text) == shortest
    if strings:
        assert shortest == min(map(len, strings))
        assert longest is None or longest >= max(map(len, strings))
        if node.plain and longest is not None and longest <= LONGEST:
            assert longest == max(map(len, strings))
    listed = finite_words(node, 200)
    if listed is not None:
        assert list(listed) == sorted(set(listed))
        assert all(matches(node, word) for word in listed)
        short = {word for word in listed if len(word) <= LONGEST and set(word) <= set(LETTERS)}
        assert short == strings
    else:
        assert node.letters.size > 200 or longest is None or longest > 2


@settings(max_examples=300, deadline=None)
@given(SAMPLES)
def test_an_end_is_never_farther_than_the_farthest(sample: Sample) -> None:
    bound = farthest_end(sample[0])
    if bound is not None:
        for node in reachable(sample[0])[:50]:
            shortest = example(node)
            assert shortest is None or len(shortest) <= bound


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("^$", 0),
        ("^(?:abc|d)$", 3),
        ("^[a-z]{3,}x{2}y*$", 5),
        ("^(?:[a-z]{0,60}[a-z]\\.)+$", 2),
        ("foo", 4),
        ("^(?!foo)", None),
    ],
)
def test_the_farthest_end(pattern: str, wanted: int | None) -> None:
    assert farthest_end(regex.parse(pattern, search=True)) == wanted


def test_a_letter_that_one_part_needs_and_another_never_has() -> None:
    day = regex.parse("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}", search=True)
    time = regex.parse(r"^(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}(?:\.[0-9]+)?Z$", search=True)
    language = intersect(day, time)
    assert is_empty(language, max_nodes=1)
    assert not is_empty(intersect(day, regex.parse(r"^[0-9T:-]*$", search=True)), max_nodes=100)


def is_live(node: Regex) -> bool:
    return any(derivative.nullable for derivative in reachable(node))


@settings(max_examples=400, deadline=None)
@given(SAMPLES)
def test_no_text_of_lasting_characters_leads_astray(sample: Sample) -> None:
    for node in filter(is_live, reachable(sample[0])[:20]):
        characters, pending, seen = lasting(node), [node], {node}
        while characters and pending:
            ways = [(block, target) for block, target in pending.pop().transitions() if is_live(target)]
            assert not characters & ~CharSet.union(block for block, _ in ways)
            after = {target for block, target in ways if block & characters} - seen
            pending += after
            seen |= after


@pytest.mark.parametrize(
    ("pattern", "prefix", "wanted"),
    [
        (r"^.*foo", "fo", "[^\n\r\u2028\u2029]"),
        (r"^\S([^]*\S)?$", "a ", "[^]"),
        (r"^(?!(?:if|else)$)[a-z]+$", "", "[a-z]"),
        (r"^[a-z]+(?:-[a-z0-9]+)*$", "a-b", "[a-z0-9]"),
        (r"^(?:[0-9]+|x[0-9a-f]*)$", "", "[0-9]"),
        (r"^[a-z]{0,60}$", "", None),
    ],
)
def test_lasting_characters(pattern: str, prefix: str, wanted: str | None) -> None:
    node = regex.parse(pattern, search=True)
    for character in prefix:
        node = node.derivative(ord(character))
    assert lasting(node) == (regex.parse(wanted).letters if wanted else CharSet())


def longest(node: Regex, path: tuple[Regex, ...] = ()) -> float:
    """The length of the longest member, found by going every way."""
    if node in path:
        return math.inf
    found = [1 + longest(target, (*path, node)) for _, target in node.transitions() if is_live(target)]
    return max(found, default=0.0)


@settings(max_examples=200, deadline=None)
@given(SAMPLES)
def test_what_has_begun_can_become_as_long_as_its_extent(sample: Sample) -> None:
    node = sample[0]
    assume(is_live(node) and len(reachable(node)) < 12)
    found = extent(node)
    level, length = {node}, 0
    while level and length < 8:
        assert all(length + longest(left) >= (math.inf if found is None else found) for left in level)
        level = {target for left in level for _, target in left.transitions() if is_live(target)}
        length += 1


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        (r"^(?!(?:if|else)$)[a-z]+$", None),
        (r"^x-", None),
        (r"^(?!x-)", None),
        (r"^(?:a|b+)$", 1),
        (r"^[a-z]{2,5}(?:-x)?$", 4),
        (r"^[a-z]{1,255}$", 64),
        (r"^(?:[a-z]+|i-ami)$", 5),
    ],
)
def test_extents(pattern: str, wanted: int | None) -> None:
    assert extent(regex.parse(pattern, search=True)) == wanted


@settings(max_examples=200, deadline=None)
@given(SAMPLES, SAMPLES)
def test_equal_nodes_have_equal_members(left: Sample, right: Sample) -> None:
    if left[0] == right[0]:
        assert left[1] == right[1]
        assert hash(left[0]) == hash(right[0])


# -------------------------------------------------------------------- simplification

A, B, DIGIT = literal("a"), literal("b"), chars(CharSet([(48, 57)]))
LOWER = chars(CharSet([(97, 122)]))
STAR = repeat(LOWER, 0)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (alternate(A, B), chars(CharSet.of("ab"))),
        (alternate(literal("ab"), literal("cd"), literal("ab")), words(["ab", "cd"])),
        (alternate(STAR, literal("abc")), STAR),
        (alternate(concat(LOWER, DIGIT), ANY_STRING), ANY_STRING),
        (alternate(repeat(DIGIT, 1, 3), repeat(DIGIT, 2, 7)), repeat(DIGIT, 1, 7)),
        (alternate(EPSILON, repeat(DIGIT, 1)), repeat(DIGIT, 0)),
        (alternate(repeat(DIGIT, 0, 1), DIGIT), repeat(DIGIT, 0, 1)),
        (alternate(complement(A), A), ANY_STRING),
        (concat(A, B, literal("cd")), literal("abcd")),
        (concat(LOWER, LOWER, STAR), repeat(LOWER, 2)),
        (concat(STAR, STAR), STAR),
        (concat(repeat(LOWER, 1, 2), repeat(LOWER, 3, 4)), repeat(LOWER, 4, 6)),
        (concat(ANY_STRING, repeat(DIGIT, 0, 3), ANY_STRING), ANY_STRING),
        (concat(repeat(DIGIT, 2, 5), ANY_STRING), concat(repeat(DIGIT, 2, 2), ANY_STRING)),
        (concat(A, EMPTY, B), EMPTY),
        (repeat(repeat(LOWER, 0), 3, 9), STAR),
        (repeat(repeat(LOWER, 2, 3), 4, 4), repeat(LOWER, 8, 12)),
        (repeat(alternate(EPSILON, LOWER, concat(DIGIT, A)), 1), repeat(alternate(LOWER, concat(DIGIT, A)), 0)),
        (intersect(STAR, literal("abc")), literal("abc")),
        (intersect(words(["a", "b1", "cc"]), complement(literal("a")), STAR), literal("cc")),
        (intersect(repeat(ANY_CHAR, 2, 9), repeat(LOWER, 0, 5)), repeat(LOWER, 2, 5)),
        (intersect(repeat(ANY_CHAR, 0, 9), concat(LOWER, DIGIT)), concat(LOWER, DIGIT)),
        (intersect(repeat(ANY_CHAR, 3, 9), concat(LOWER, DIGIT)), EMPTY),
        (intersect(LOWER, complement(A)), chars(CharSet([(98, 122)]))),
        (intersect(concat(LOWER, STAR, DIGIT), complement(concat(LOWER, STAR, DIGIT))), EMPTY),
        (complement(complement(literal("ab"))), literal("ab")),
        (complement(repeat(ANY_CHAR, 2, 3)), alternate(repeat(ANY_CHAR, 0, 1), repeat(ANY_CHAR, 4))),
        (words([]), EMPTY),
        (words([""]), EPSILON),
        (chars(ALL), ANY_CHAR),
    ],
)
def test_simplified(made: Regex, wanted: Regex) -> None:
    assert made == wanted, f"{made!r}, not {wanted!r}"


def test_gaps_in_counts_stay() -> None:
    assert repeat(repeat(LOWER, 3, 4), 1, 2) != repeat(LOWER, 3, 8)
    assert not matches(repeat(repeat(LOWER, 3, 4), 1, 2), "abcde")
    assert isinstance(alternate(repeat(LOWER, 2, 2), repeat(LOWER, 5, 5)), Alternate)


def test_states_stay_few() -> None:
    """Every line gives the number of states that the minimal automaton has, or near it."""
    search = concat(ANY_STRING, repeat(DIGIT, 5, 40), ANY_STRING)
    assert len(reachable(search)) == 6
    behind = concat(ANY_STRING, A, repeat(ANY_CHAR, 5, 5), ANY_STRING)
    assert len(reachable(behind)) == 7
    assert len(reachable(concat(ANY_STRING, words(["foo", "bar"]), ANY_STRING))) == 6
    dotted = concat(repeat(LOWER, 1), repeat(concat(literal("."), repeat(LOWER, 1)), 0))
    assert len(reachable(dotted)) == 2


def test_equal_derivatives_of_a_root_are_one_object() -> None:
    ring = repeat(concat(LOWER, DIGIT, A), 0)
    node = ring
    for letter in "x1ay2a":
        node = node.derivative(ord(letter))
    assert node is ring


def test_ten_thousand_words() -> None:
    table = [f"key-{number:05}" for number in range(10_000)]
    node = words(table)
    assert isinstance(node, Words)
    assert matches(node, "key-04711")
    assert not matches(node, "key-0471")
    others = complement(node)
    assert not matches(others, "key-04711")
    assert matches(others, "key-0471")
    assert not is_empty(others)
    assert finite_words(node, 10_000) == tuple(table)
    assert finite_words(node, 9_999) is None


def test_symbolic_counts() -> None:
    node = repeat(LOWER, 1, 100_000)
    after = node.derivative(ord("a"))
    assert isinstance(after, Repeat)
    assert (after.low, after.high) == (0, 99_999)
    assert length_bounds(concat(node, repeat(DIGIT, 3))) == (4, None)


def test_budget() -> None:
    # Two letters n apart that differ, and all letters n apart the same: empty, and only 2**n states show it.
    far = repeat(chars(CharSet.of("ab")), 16, 16)
    first = intersect(concat(ANY_STRING, A, far, A, ANY_STRING), repeat(chars(CharSet.of("ab")), 0))
    second = complement(concat(ANY_STRING, A, far, chars(CharSet.of("ab")), ANY_STRING))
    with pytest.raises(LimitExceeded) as caught:
        is_empty(intersect(first, second), max_nodes=100)
    assert (caught.value.limit, caught.value.maximum) == ("max_nodes", 100)


def test_deep_nesting_is_refused() -> None:
    node = A
    with pytest.raises(LimitExceeded):
        for _ in range(1000):
            node = repeat(concat(DIGIT, alternate(node, concat(B, node))), 2, 3)


def test_lone_surrogates_are_no_text() -> None:
    with pytest.raises(InvalidError):
        words(["\ud800"])
    assert not matches(ANY_STRING, "\ud800")
    assert chars(CharSet([(0xD800, 0xDFFF)])) is EMPTY


def test_intersections_are_explored_lazily() -> None:
    both = intersect(repeat(alternate(LOWER, concat(DIGIT, DIGIT)), 3), concat(ANY_STRING, literal("7"), ANY_CHAR))
    assert isinstance(both, Intersect)
    assert not is_empty(both)
    assert example(both) is not None
