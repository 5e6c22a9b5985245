"""Context-free grammars compiled: masks and completions against an Earley oracle, and what long texts cost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from naive_grammar import EarleyOracle
from strategies_grammar import ALPHABET, grammars

import maskwright as mw
from maskwright.budget import Budget, Covers
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import literal
from maskwright.grammars.rules import Choice, Json, Loop, Rules, Sequence, Text

EOS = 256


def vocabulary(specials: Iterable[str | int] = (), texts: Iterable[str] = ()) -> mw.TokenizerInfo:
    """A token for every byte, an end token, some special tokens, and tokens of several characters."""
    tokens: list[bytes | None] = [bytes((byte,)) for byte in range(256)]
    tokens.append(b"<end>")
    tokens += [text.encode() for text in texts]
    special = {EOS}
    for name in specials:
        if isinstance(name, int):
            tokens += [None] * (name + 1 - len(tokens))
            tokens[name] = b"<%d>" % name
            special.add(name)
        else:
            special.add(len(tokens))
            tokens.append(name.encode())
    return mw.TokenizerInfo(tokens, eos_token_ids=[EOS], special_token_ids=special)


# Tokens that are beginnings, ends, parts and sums of what the grammars are made of.
_TEXTS = ("ab", "ba", "aab", "abab", "é", "aé", "bé", "éa", "bb", "aaaa", "abé", "bbb")


@cache
def _info() -> mw.TokenizerInfo:
    return vocabulary(texts=_TEXTS)


def check_masks(rules: Rules, rng: random.Random, walks: int, length: int) -> bool:
    """Compares the masks along random texts with the oracle's; whether the language has any texts."""
    oracle = EarleyOracle(rules)
    info = _info()
    compiler = mw.GrammarCompiler(info)
    if not oracle.is_prefix(""):
        with pytest.raises(mw.UnsatisfiableError):
            compiler.compile_grammar(Grammar(rules))
        return False
    compiled = compiler.compile_grammar(Grammar(rules))
    compiled.validate()
    written = {number: text for number, text in enumerate(info.tokens) if number != EOS}
    for _ in range(walks):
        matcher, text = mw.GrammarMatcher(compiled), ""
        for _ in range(length):
            expected = {
                number
                for number, token in written.items()
                if token is not None and set(token) <= set(ALPHABET.encode()) and _may_follow(oracle, text, token)
            }
            if oracle.accepts(text):
                expected.add(EOS)
            allowed = set(matcher.allowed_token_ids().tolist())
            assert allowed == expected, f"after {text!r}: {rules.bodies}"
            assert matcher.is_completed() == (EOS in expected)
            rest = matcher.shortest_completion().decode()
            assert oracle.accepts(text + rest), f"{text!r} completed by {rest!r}: {rules.bodies}"
            whole = sorted(number for number in expected - {EOS} if _is_whole(written[number]))
            if not whole:
                break
            token = rng.choice(whole)
            assert matcher.accept_token(token)
            if rng.random() < 0.2:
                matcher.rollback(1)
                assert set(matcher.allowed_token_ids().tolist()) == expected
                assert matcher.accept_token(token)
            chosen = written[token]
            assert chosen is not None
            text += chosen.decode()
    return True


def _is_whole(token: bytes | None) -> bool:
    return token is not None and (len(token) > 1 or token[0] < 0x80)


def _may_follow(oracle: EarleyOracle, text: str, token: bytes) -> bool:
    """Whether the bytes of a token may follow; of é (C3 A9) the first byte may where é may."""
    try:
        return oracle.is_prefix(text + token.decode())
    except UnicodeDecodeError:
        return token == "é".encode()[:1] and oracle.is_prefix(text + "é")


@settings(max_examples=150, deadline=None)
@given(grammars(), st.randoms(use_true_random=False))
def test_masks_of_random_grammars(rules: Rules, rng: random.Random) -> None:
    assume(check_masks(rules, rng, walks=2, length=8))


@pytest.mark.long
def test_masks_of_many_grammars() -> None:
    """MASKWRIGHT_LONG_CASES random grammars (20,000), long texts; says how far it is."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", "20000"))
    done, started = 0, time.monotonic()

    @settings(max_examples=count, deadline=None, database=None)
    @given(grammars(), st.randoms(use_true_random=False))
    def check(rules: Rules, rng: random.Random) -> None:
        nonlocal done
        check_masks(rules, rng, walks=2, length=14)
        done += 1
        if done % 500 == 0:
            print(f"{done:,} of {count:,} grammars, {time.monotonic() - started:.0f} s", flush=True)

    check()


def nodes_of(compiled: mw.CompiledGrammar, text: str) -> int:
    """Bytes that a matcher holds after a text, its history left out."""
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.accept_string(text)
    assert matcher.allowed_token_ids().size
    return matcher.nbytes


@pytest.mark.parametrize(
    ("grammar", "item"),
    [
        ('root ::= "a," root | "a"', "a,"),  # right recursion
        ('root ::= root "a," | ""', "a,"),  # left recursion
        ('root ::= x ("," x)*\nx ::= "a" | "(" x ")"', "a,"),  # a loop around calls
        ('root ::= root "+" root | root "*" root | "a" | "(" root ")"', "a+a*"),  # ambiguous
        ('root ::= x | y\nx ::= "a," y | "a"\ny ::= "a," x | "a"', "a,"),  # each calls the other last
        ('root ::= root root | "a," | ""', "a,"),
    ],
)
def test_lists_of_any_length_take_the_same_memory(grammar: str, item: str) -> None:
    compiled = mw.GrammarCompiler(_info()).compile_grammar(grammar)
    assert nodes_of(compiled, item * 100_000) == nodes_of(compiled, item * 100)


@pytest.mark.parametrize(
    ("grammar", "item"),
    [
        ('root ::= root root root | root root | "a"', "a"),
        ('root ::= root x | "a"\nx ::= x root | "a" | ""', "a"),
        ('root ::= "a" root "b"? | "a" root "c"? | ""', "a"),
        ('root ::= x\nx ::= "a" y x? | "a"\ny ::= x "b"? | ""', "a"),
        ('root ::= "a" root "a" | "b" root "b" | ""', "ab"),
    ],
)
def test_ambiguous_texts_of_any_length_are_followed(grammar: str, item: str) -> None:
    """As long as this is linear in the text it takes a second; the texts can be read in exponentially many ways."""
    compiled = mw.GrammarCompiler(_info()).compile_grammar(grammar)
    matcher = mw.GrammarMatcher(compiled)
    counts = []
    for _ in range(3):
        for byte in (item * 1000).encode():
            assert matcher.accept_token(byte)
        counts.append(matcher.allowed_token_ids().tolist())
    assert counts[1:] == counts[:-1]
    twin = matcher.fork()
    matcher.rollback(1000)
    assert matcher.accept_string(twin.shortest_completion()) or matcher.allowed_token_ids().size


def test_an_empty_language_names_its_rule() -> None:
    with pytest.raises(mw.UnsatisfiableError, match=r"'root'.*'x'") as caught:
        mw.GrammarCompiler(_info()).compile_grammar('root ::= "a" x\nx ::= "b" x')
    assert (caught.value.line, caught.value.column) == (1, 1)


def test_rules_that_derive_nothing_are_warned_of() -> None:
    compiled = mw.GrammarCompiler(_info()).compile_grammar('root ::= "a" | x\nx ::= "b" x')
    assert compiled.warnings == ["rule 'x' derives no text: it is never used"]


def test_special_tokens_are_no_text() -> None:
    info = vocabulary(["<tool>"], ["<tool"])
    compiler = mw.GrammarCompiler(info)
    special = info.special_token("<tool>")
    by_token = mw.GrammarMatcher(compiler.compile_grammar("root ::= <tool> [a-z]+"))
    assert by_token.allowed_token_ids().tolist() == [special]
    assert not by_token.accept_string("<tool>")
    assert by_token.accept_token(special)
    by_text = mw.GrammarMatcher(compiler.compile_grammar('root ::= "<tool>"'))
    assert special not in by_text.allowed_token_ids()
    with pytest.raises(mw.TokenizerError, match="no special token '<tol>'; did you mean '<tool>'"):
        compiler.compile_grammar("root ::= <tol>")


def test_an_end_token_is_the_end_of_the_text() -> None:
    info = vocabulary(["<tool>"], ["<tool"])
    compiler = mw.GrammarCompiler(info)
    end = info.special_token("<end>")
    matcher = mw.GrammarMatcher(compiler.compile_grammar('root ::= "a" (<end> | "b" <end> "c" | "d")'))
    assert matcher.accept_string("a") and matcher.is_completed()
    assert end in matcher.allowed_token_ids()
    assert matcher.accept_string("b") and matcher.allowed_token_ids().tolist() == [end]
    assert matcher.accept_token(end)
    with pytest.raises(mw.UnsupportedError, match="inside of a rule that calls itself"):
        compiler.compile_grammar('root ::= "(" root ")" | "x" <end>')


def test_special_tokens_that_must_come() -> None:
    info = vocabulary(["<tool>", "<done>"])
    compiled = mw.GrammarCompiler(info).compile_grammar('root ::= "ab" <tool> "é" <done>')
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.find_jump_forward_string() == "ab"
    completion = matcher.shortest_completion()
    tool, done = info.special_token("<tool>"), info.special_token("<done>")
    assert completion == b"ab" + info.path_of(tool) + "é".encode() + info.path_of(done)
    budget = Budget(Covers(info), matcher, limit=6)
    written = []
    while (token := budget.next_token()) is not None:
        assert matcher.accept_token(token)
        assert budget.admit([token])
        written.append(token)
    assert written == [*b"ab", tool, *"é".encode(), done]
    assert matcher.is_completed()
    with pytest.raises(mw.TruncatedError, match="takes 6 tokens"):
        Budget(Covers(info), mw.GrammarMatcher(compiled), limit=5)


def test_values_inside_a_grammar_may_be_numbers() -> None:
    """A number does not say where it ends: the grammar may go on with a digit."""
    compiled = mw.GrammarCompiler(_info()).compile_grammar('root ::= %json {"type": ["integer", "array"]} [0-9]? "."')
    for text, whole in [("1.", True), ("12.", True), ("[1, 2]3.", True), ("[1, 2]34", None), ("-", False), (".", None)]:
        matcher = mw.GrammarMatcher(compiled)
        assert matcher.accept_string(text) == (whole is not None), text
        assert whole is None or matcher.is_completed() == whole


def test_values_inside_a_grammar_may_be_left_out() -> None:
    grammar = 'root ::= "a" (%json {"type": "boolean"})? | "b" root "c" (%json {"type": "boolean"})?'
    compiled = mw.GrammarCompiler(_info()).compile_grammar(grammar)
    for text in ("a", "atrue", "bac", "bactrue", "bbatruecfalsec"):
        matcher = mw.GrammarMatcher(compiled)
        assert matcher.accept_string(text), text
        assert matcher.is_completed(), text


def test_what_may_follow_a_name_is_seen_at_a_glance() -> None:
    """After a name that a keyword may follow at once, a letter of the keyword leads elsewhere, and no less may follow."""
    tokens = [*(bytes((byte,)) for byte in range(256)), b"aim", b"import", b"amp", b"im1", b"i.", b"importimport", b""]
    info = mw.TokenizerInfo(tokens, eos_token_ids=[len(tokens) - 1])
    compiled = mw.GrammarCompiler(info).compile_grammar('root ::= ([a-z]+ "import")+ [0-9]')
    matcher = mw.GrammarMatcher(compiled)
    for text, allowed in [
        ("", {b"aim", b"import", b"amp", b"importimport"}),
        ("a", {b"aim", b"import", b"amp", b"importimport"}),
        ("aimpor", {b"aim", b"import", b"amp", b"importimport"}),
        ("aimport", {b"aim", b"import", b"amp", b"importimport"}),
    ]:
        matcher.reset()
        assert matcher.accept_string(text)
        found = {tokens[token] for token in matcher.allowed_token_ids().tolist() if len(tokens[token]) > 1}
        assert found == allowed, text
    states = compiled.describe_states()
    assert "'i' -> " in states and states.count("has a safe set") > 5


_UNIQUE = {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}


def test_unique_items_inside_a_grammar() -> None:
    tagged = Sequence((Text(literal("<")), Json(_UNIQUE, SchemaOptions()), Text(literal(">"))))
    compiled = mw.GrammarCompiler(_info()).compile_grammar(Grammar(Rules({"root": Loop(tagged, 1, None)}, "root")))
    for text, taken in [
        ('<["a", "b"]><[]>', True),
        ('<["a"]><["a"]>', True),
        ('<["a", "a', False),
        ('<["a", "b", ', False),
    ]:
        matcher = mw.GrammarMatcher(compiled)
        assert matcher.accept_string(text) == taken, text
        assert not taken or matcher.is_completed()
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.accept_string('<["a", "')
    assert matcher.allowed_token_ids().tolist() == [ord("b")]


def test_unique_items_that_may_be_something_else_are_refused() -> None:
    either = Choice((Json(_UNIQUE, SchemaOptions()), Text(literal('["a", "a"]'))))
    compiled = mw.GrammarCompiler(_info()).compile_grammar(Grammar(Rules({"root": either}, "root")))
    with pytest.raises(mw.UnsupportedError, match="read an array with uniqueItems in other ways"):
        mw.GrammarMatcher(compiled).accept_string('["a"')


def test_states_are_lowered_ahead() -> None:
    """Of a small grammar all that a text meets, given the time; without it, none but those that are asked for."""
    grammar = 'root ::= "(" root ")" root | [a-c]{1,3} ("," root)? | ""'
    text = "(abc,())(a)b,c"
    for milliseconds, ahead in [(60_000.0, True), (0.0, False)]:
        compiled = mw.GrammarCompiler(_info(), ahead_ms=milliseconds).compile_grammar(grammar)
        states = compiled.state_count
        matcher = mw.GrammarMatcher(compiled)
        for byte in text.encode():
            assert byte in matcher.allowed_token_ids()
            assert matcher.accept_token(byte)
        assert (compiled.state_count == states) == ahead
