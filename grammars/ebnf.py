r"""Grammars in EBNF: the notations of llama.cpp (GBNF) and XGrammar in one.

    root  ::= "[" (item ("," item)*)? "]"       # rules, literals, groups, counts: * + ? {2} {2,} {2,5}
    item  ::= [0-9a-fA-F]{1,4} | "\n" | .       # classes, escapes, any character
    other ::= <|eot_id|> | <[128009]>           # special tokens, by name and by id
            | %json {"type": "integer"}         # the JSON texts of a schema

A rule goes on until the next `name ::=` that begins a line. docs/grammars.md has the notation in full, and where it
differs from either. Texts are sequences of code points; nothing is skipped between items.

The text is cut into tokens first, which are checked for what needs more than one of them to be seen (dots in names, what
the other notations have and this one refuses), and then parsed by lark's LALR(1) parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NoReturn

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args
from lark.parsers.lalr_interactive_parser import InteractiveParser

from maskwright.grammars.charset import ALL, LAST_CODE_POINT, CharSet
from maskwright.grammars.embedded import SPECIAL, lift, special_token
from maskwright.grammars.errors import GrammarError, InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.regular import ANY_CHAR, chars, literal
from maskwright.grammars.rule_nodes import choice, loop, sequence, validate
from maskwright.grammars.rules import Call, Node, Rules, Text

__all__ = ["MAX_GROUPS", "parse_ebnf"]

MAX_GROUPS = 100  # nesting of groups; whatever walks a body takes some Python frames for each

_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_CLASS = r"\[(?:[^\]\\]|\\.)*\]"
_COMMENT = r"\#[^\r\n]*"
_NAME = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"

_NOTATION = rf"""
start: rule*
rule: HEAD ASSIGN choice
choice: sequence ("|" sequence)*
sequence: counted*
counted: item COUNT*
?item: STRING -> string
     | CLASS  -> character_class
     | NAME   -> name
     | DOT    -> any_character
     | TOKEN  -> special
     | JSON   -> json
     | (LPAR | FOREIGN) choice RPAR -> group

HEAD.1: /{_NAME}(?:\[[^\]\r\n]*\])?(?=(?:[ \t\r\n]|\#[^\r\n]*[\r\n])*::=)/
NAME: /{_NAME}/
STRING: /{_STRING}/s
CLASS: /{_CLASS}/s
COUNT: /[*+?]|\{{[^{{}}"'()|]*\}}/
TOKEN: /!?(?:{SPECIAL})/
DOT: "."
JSON: "%json"
FOREIGN.1: "(=" | "=" | ","
LPAR: "("
RPAR: ")"
ASSIGN: "::="
BLANK: /[ \t\r\n]+/
COMMENT: /{_COMMENT}/
%ignore BLANK
%ignore COMMENT
"""

_COUNT = re.compile(r"\{\s*([0-9]+)\s*(?:(,)\s*([0-9]*|-1)\s*)?\}")
_LARGEST_COUNT = 10**9

# What stands behind a backslash for a control character. Punctuation stands for itself.
_CONTROL = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "b": 8, "e": 27, "0": 0}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_HEX = re.compile(r"[0-9A-Fa-f]*")

# What XGrammar writes as calls of functions, and what to write instead.
_FUNCTIONS = {
    "TagDispatch": "compile a structural tag instead",
    "TokenTagDispatch": "compile a structural tag instead",
    "Token": "write <[12]> for the token with the id 12, or <|name|> for one by its name",
    "ExcludeToken": "name the tokens that are allowed: <[12]> | <[13]>",
    "Regex": "write the expression as a rule, or join grammars: Grammar.concat, Grammar.union, Grammar.from_regex",
    "Substring": "compile the substrings of a text as a grammar of their own",
}


def parse_ebnf(text: str, root_rule_name: str = "root") -> Rules:
    """The rules of a grammar in EBNF.

    Args:
        text: the grammar.
        root_rule_name: the rule that whole texts are derived from.

    Raises:
        InvalidError: it is not well formed, or names a rule that it does not define; with line, column and caret.
        UnsupportedError: it uses something that cannot be enforced.
        LimitExceeded: groups are nested more than MAX_GROUPS deep.
    """
    if not isinstance(text, str):
        raise InvalidError(f"a grammar is a string, not {type(text).__name__}")
    try:
        lifted, schemas = lift(text, f"{_STRING}|{_CLASS}|{_COMMENT}")
        parser = _notation().parse_interactive(lifted)
        tokens = list(_checked(_tokens(parser), text))
        for token in tokens:
            if token.type == "JSON":
                token.value = schemas[_at(token)]
        rules = _rules(_parse(parser, tokens), root_rule_name, text)
    except GrammarError as error:
        error.within(text)
        raise
    return validate(rules, "root_rule_name")


@cache
def _notation() -> Lark:
    """The parser of the notation; its actions are those of `_Bodies`."""
    return Lark(_NOTATION, parser="lalr", lexer="basic", transformer=_Bodies())


def _rules(written: list[tuple[Token, Node]], root: str, text: str) -> Rules:
    bodies: dict[str, Node] = {}
    positions: dict[str, int] = {}
    for name, body in written:
        if name in bodies:
            line = text.count("\n", 0, positions[name]) + 1
            reason = f"the rule `{name}` is defined a second time, after line {line}"
            raise InvalidError(reason, position=_at(name), hint="join the two with |, or rename one")
        bodies[str(name)], positions[str(name)] = body, _at(name)
    return Rules(bodies, root, text, positions)


# -------------------------------------------------------------------- tokens


def _tokens(parser: InteractiveParser) -> list[Token]:
    """What the grammar is written with, blanks and comments left out."""
    found: list[Token] = []
    try:
        found.extend(parser.lexer_thread.lex(parser.parser_state))  # type: ignore[no-untyped-call]
    except UnexpectedCharacters as error:
        _fail(*_unreadable(error.char), error.pos_in_stream or 0, found)
    return found


_UNFINISHED = {
    '"': ("this string has no end", r"write \" for the character inside of a string"),
    "'": ("this string has no end", r"write \' for the character inside of a string"),
    "[": ("this character class has no end", r'write "[" for the character'),
    "{": ("this count has no end", "counts are {2}, {2,} and {2,5}"),
    "<": ("this special token has no end", 'special tokens are <|name|> or <[12]>; write "<" for the character'),
    "=": ("`=` has no meaning here", 'a rule is written name ::= ...; write "=" for the character'),
    "%": ("this is no directive", "schemas are written %json {...}"),
    "/": ("`/` begins nothing here", "comments begin with #; write regular expressions as rules and classes"),
}


def _unreadable(character: str) -> tuple[str, str]:
    """What is wrong with a character that begins no token, and what to do."""
    if character in _UNFINISHED:
        return _UNFINISHED[character]
    return f"`{character}` has no meaning here", f'write "{character}" for the character'


def _checked(tokens: list[Token], text: str) -> Iterator[Token]:
    """The tokens as the parser takes them: names with dots that are no rules cut apart, what is not supported refused."""
    heads = {str(token) for token in tokens if token.type == "HEAD"}
    opened: list[Token] = []
    for number, token in enumerate(tokens, 1):
        kind = token.type
        if kind == "HEAD":
            _check_head(token, text, opened)
        elif kind == "LPAR":
            opened.append(token)
            if len(opened) > MAX_GROUPS:
                _refuse_nesting(token)
        elif kind == "RPAR":
            if not opened:
                _fail("a group ends here that has not begun", 'write ")" for the character', _at(token))
            opened.pop()
        elif kind == "FOREIGN":
            if token != "(=":
                _fail(*_unreadable(str(token)), _at(token))
            hint = "leave it out (XGrammar takes it as a hint to a cache), or write what follows into the rule"
            _refuse("lookahead `(=`", token, hint)
        elif kind == "TOKEN" and token.startswith("!"):
            _refuse("`!`, any token but one", token, "name the tokens that are allowed, or describe the text: [^<]*")
        elif kind == "NAME" and token not in heads:
            if token in _FUNCTIONS and number < len(tokens) and tokens[number].type == "LPAR":
                _refuse(f"the function {token}()", token, _FUNCTIONS[token])
            if "." in token and heads.issuperset(token.split(".")):
                yield from _cut(token)
                continue
        yield token
    if opened:
        _unclosed(opened[-1])


def _check_head(head: Token, text: str, opened: list[Token]) -> None:
    if opened:
        _unclosed(opened[-1])
    start = max(text.rfind("\n", 0, _at(head)), text.rfind("\r", 0, _at(head))) + 1
    if text[start : _at(head)].strip():
        _fail(f"the rule `{head}` begins in the middle of a line", "begin it on a line of its own", _at(head))
    if "[" in head:
        hint = "leave the brackets out; the number of tokens is limited where text is generated"
        _refuse("an attribute of a rule", head, hint)


def _cut(name: Token) -> Iterator[Token]:
    """`a.b` as llama.cpp reads it, where dots are no part of names: a, any character, b."""
    at = _at(name)
    for number, part in enumerate(name.split(".")):
        if number:
            yield Token("DOT", ".", start_pos=at - 1)
        yield Token("NAME", part, start_pos=at)
        at += len(part) + 1


def _at(token: Token) -> int:
    """The offset of a token."""
    return token.start_pos or 0


def _unclosed(opening: Token) -> NoReturn:
    _fail("this group has no end", 'write ")" at its end, or "(" in quotes for the character', _at(opening))


def _fail(reason: str, hint: str, position: int, before: Iterable[Token] = ()) -> NoReturn:
    """Raises InvalidError; a string that goes over several lines, `before`, may be what is wrong."""
    for token in before:
        if token.type in ("STRING", "CLASS") and "\n" in token:
            hint += f"; the one that begins in line {token.line} ends in line {token.end_line}: is that meant?"
    raise InvalidError(reason, position=position, hint=hint)


def _refuse(what: str, token: Token, hint: str) -> NoReturn:
    raise UnsupportedError(f"{what} cannot be enforced", position=_at(token), hint=hint)


def _refuse_nesting(token: Token) -> NoReturn:
    hint = "give a part of it a name, as a rule of its own"
    error = LimitExceeded("max_groups", MAX_GROUPS + 1, MAX_GROUPS, what="nesting of groups in a rule", hint=hint)
    error.position = _at(token)
    raise error


# -------------------------------------------------------------------- rules


def _parse(parser: InteractiveParser, tokens: list[Token]) -> list[tuple[Token, Node]]:
    """(name, body) of each rule."""
    try:
        for token in tokens:
            parser.feed_token(token)
        return parser.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedToken as error:
        token = error.token
        if token.type == "COUNT":
            _fail(f"`{token}` stands here with nothing to repeat", f'write "{token}" for the character', _at(token))
        if token.type == "ASSIGN":
            _fail("`::=` has no name of a rule before it", "names have ASCII letters, digits, _ and -", _at(token))
        _fail(f"a rule begins with its name and ::=, not with `{token}`", "names are without quotes", _at(token))


class _Bodies(Transformer[Token, Any]):
    """What the rules of the notation stand for."""

    start = list

    @v_args(inline=True)
    def rule(self, head: Token, _: Token, body: Node) -> tuple[Token, Node]:
        return head, body

    def choice(self, branches: list[Node]) -> Node:
        return choice(branches)

    def sequence(self, items: list[Node]) -> Node:
        return sequence(items)

    @v_args(inline=True)
    def group(self, opening: Token, body: Node, closing: Token) -> Node:
        return body

    @v_args(inline=True)
    def counted(self, item: Node, *counts: Token) -> Node:
        for count in counts:
            item = loop(item, *_bounds(count))
        return item

    @v_args(inline=True)
    def string(self, token: Token) -> Node:
        points: list[str] = []
        for code_point, at in _characters(token, 1):
            if 0xD800 <= code_point <= 0xDFFF:
                hint = r"write the character itself, or \U and its eight hexadecimal digits"
                _fail("a surrogate is half a character, which no text contains", hint, at)
            points.append(chr(code_point))
        return Text(literal("".join(points)))

    @v_args(inline=True)
    def character_class(self, token: Token) -> Node:
        return Text(chars(_class_set(token)))

    @v_args(inline=True)
    def name(self, token: Token) -> Node:
        return Call(str(token), _at(token))

    @v_args(inline=True)
    def any_character(self, _: Token) -> Node:
        return Text(ANY_CHAR)

    @v_args(inline=True)
    def special(self, token: Token) -> Node:
        return special_token(str(token), _at(token))

    @v_args(inline=True)
    def json(self, token: Token) -> Node:
        return token.value


def _bounds(count: Token) -> tuple[int, int | None]:
    """The least and the greatest number of rounds."""
    if len(count) == 1:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[count]
    found = _COUNT.fullmatch(count)
    if found is None:
        _fail(f"`{count}` is no count", "counts are {2}, {2,} and {2,5}", _at(count))
    low = int(found[1])
    unbounded = found[2] and found[3] in ("", "-1")  # XGrammar prints {2,-1}
    high = None if unbounded else int(found[3]) if found[2] else low
    if high is not None and high < low:
        _fail(f"the count {count} has its bounds in the wrong order", "the smaller one comes first", _at(count))
    if max(low, high or 0) > _LARGEST_COUNT:
        _fail(f"the count {count} is too large", f"{_LARGEST_COUNT:,} is the limit", _at(count))
    return low, high


def _characters(token: Token, begin: int) -> list[tuple[int, int]]:
    """(code point, offset in the grammar) of what stands in a literal or class, from `begin` on to its last character."""
    found = []
    at, end = begin, len(token) - 1
    while at < end:
        start = at
        if token[at] == "\\":
            code_point, at = _escape(token, at)
        else:
            code_point, at = ord(token[at]), at + 1
        found.append((code_point, _at(token) + start))
    return found


def _escape(token: Token, at: int) -> tuple[int, int]:
    """The code point of an escape, and where it ends."""
    letter = token[at + 1]
    if letter in _HEX_DIGITS:
        width = _HEX_DIGITS[letter]
        digits = _HEX.match(token, at + 2, at + 2 + width)
        if digits is None or len(digits[0]) < width:
            _fail(rf"\{letter} takes {width} hexadecimal digits", rf"write \{letter}{'41':0>{width}}", _at(token) + at)
        code_point = int(digits[0], 16)
        if code_point > LAST_CODE_POINT:
            _fail(f"U+{code_point:X} is no character", "the last one is U+10FFFF", _at(token) + at)
        return code_point, at + 2 + width
    if letter in _CONTROL:
        return _CONTROL[letter], at + 2
    if letter.isascii() and not letter.isalnum() and letter.isprintable() and letter != " ":
        return ord(letter), at + 2
    shown = letter if letter.isprintable() else repr(letter)[1:-1]
    _fail(
        rf"\{shown} is no escape", r"write \\ for a backslash; character classes list their characters", _at(token) + at
    )


def _class_set(token: Token) -> CharSet:
    """The characters of a class; as in both notations, a hyphen after a character and before another makes a range."""
    negative = token.startswith("[^")
    members = _characters(token, 2 if negative else 1)
    hyphens = {at for _, at in members if token[at - _at(token)] == "-"}
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(members):
        low, start = members[at]
        if at + 2 < len(members) and members[at + 1][1] in hyphens:
            high, last = members[at + 2]
            if high < low:
                written = token[start - _at(token) : last - _at(token) + 1]
                _fail(f"the range {written} has its ends in the wrong order", "the smaller one comes first", start)
            ranges.append((low, high))
            at += 3
        else:
            ranges.append((low, low))
            at += 1
    found = ALL - CharSet(ranges) if negative else CharSet(ranges)
    if not members or not found:
        hint = "write . for any character" if negative else 'write "" for the empty text, or the characters meant'
        _fail("this character class is empty", hint, _at(token))
    return found
