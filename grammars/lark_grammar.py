r"""Grammars in lark's notation, as the plain context-free language that they describe.

    start: pair ("," pair)*
    pair: NAME "=" value{NUMBER}
    value{x}: x | "[" x ~ 1..3 "]" | <|unknown|> | %json {"type": "boolean"}
    NAME: /[a-z]+/i
    %import common.NUMBER
    %import common.WS
    %ignore WS

The text is read by the lark library (with its `%import`, `%extend`, templates and the composition of terminals), and its
trees of rules are taken as they are, before lark writes them out as BNF. A text is in the language when
`Lark(text, parser="earley", lexer="dynamic_complete", start=...)` parses it:

- a terminal is any text that Python's `re` takes whole where it is alone (python_regex), whatever other terminals match;
- what `%ignore` names may stand before, between and after terminals, any number of times.

With `lexer="contextual"` it is what `Lark(text, parser="lalr", lexer="contextual", start=...)` parses: lark_contextual.

Two things are not lark's: special tokens `<|name|>` and `<[12]>`, and schemas `%json {...}`, both in rules only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, NoReturn

from lark import Token, Tree
from lark.exceptions import GrammarError as LarkError
from lark.exceptions import LarkError as AnyLarkError
from lark.exceptions import UnexpectedInput
from lark.grammar import NonTerminal, Terminal
from lark.lexer import Pattern, PatternStr
from lark.load_grammar import Grammar, PrepareLiterals, TerminalTreeToPattern, load_grammar, nr_deepcopy_tree

from maskwright.grammars.embedded import SPECIAL, lift, special_token
from maskwright.grammars.errors import GrammarError, InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.lark_contextual import ROOT, contextual_bodies
from maskwright.grammars.lark_parser import parser_of
from maskwright.grammars.lark_scanner import Lexer
from maskwright.grammars.lark_tables import read_tables
from maskwright.grammars.python_regex import scanned
from maskwright.grammars.regular import EPSILON, Regex, alternate, literal, repeat
from maskwright.grammars.rule_nodes import choice, loop, sequence, similar, validate
from maskwright.grammars.rules import Call, Deferred, Json, Node, Rules, Special, Text

__all__ = ["MAX_GROUPS", "MAX_TEMPLATES", "parse_lark"]

MAX_GROUPS = 100  # nesting of groups in a rule
MAX_TEMPLATES = 2_000  # different uses of templates

_QUOTED = r'"(?:\\.|[^"\\\n])*"|/(?!/)(?:\\.|[^/\\])*/|//[^\n]*|\#[^\n]*'
_SPECIAL = re.compile(rf"(?P<special>{SPECIAL})|{_QUOTED}")
_FOREIGN = re.compile(
    rf"(?P<relative>%import\s+\.)|(?P<directive>%(?:regex|lark|llguidance|grammar_options)\b)"
    rf"|(?P<attribute>^[?!]*_?[A-Za-z]\w*(?:\.[+-]?\d+)?[ \t]*\[[^\]\n]*\][ \t]*:)|{_QUOTED}|(?P<open>[\"/])",
    re.MULTILINE,
)
_REFUSED = {
    "relative": ("an import of another file", "paste its rules into the grammar; what comes with lark can be imported"),
    "directive": ("a directive of llguidance or XGrammar", "leave it out; %json {...} is the one that is understood"),
    "attribute": ("an attribute of a rule", "leave the brackets out; lengths are limited by patterns and counts"),
}
_UNFINISHED = {
    '"': ("this string has no end in its line", r"write \" for the character inside of a string"),
    "/": (
        "this regular expression has no end",
        r"write \/ for the character inside of one; comments begin with // or #",
    ),
}


def parse_lark(text: str, start: str = "start", lexer: str = "dynamic_complete") -> Rules:
    """The rules of a grammar in lark's notation.

    Args:
        text: the grammar.
        start: the rule that whole texts are derived from.
        lexer: "dynamic_complete", the context-free language itself; or "contextual", what lark's LALR(1) parser takes,
            with the choice among terminals that its contextual lexer makes (lark_contextual).

    Raises:
        InvalidError: lark refuses the grammar, or a terminal in it; with line, column and caret where they are known.
        UnsupportedError: it uses something that cannot be enforced.
        LimitExceeded: nested too deeply, too many templates, a terminal that is too large.
    """
    if not isinstance(text, str):
        raise InvalidError(f"a grammar is a string, not {type(text).__name__}")
    if lexer not in ("dynamic_complete", "contextual"):
        raise InvalidError(f"lexer={lexer!r} is none", hint='choose "dynamic_complete" or "contextual"')
    try:
        lifted, leaves = _lift(text)
        _refuse_foreign(lifted)
        grammar = _load(lifted, leaves, text)
        reader = _Reader(grammar, leaves, text)
        rules = validate(reader.rules(start), "start")
        if lexer == "contextual":
            rules = reader.contextual_rules(grammar, start)
    except RecursionError as error:
        hint = "give parts of it names, as rules of their own"
        raise LimitExceeded("max_groups", MAX_GROUPS, MAX_GROUPS, what="nesting of a rule", hint=hint) from error
    except GrammarError as error:
        error.within(text)
        raise
    return rules


# -------------------------------------------------------------------- before lark


def _refuse_foreign(text: str) -> None:
    for match in _FOREIGN.finditer(text):
        if match.lastgroup == "open":
            # Said before lark sees it: to find the end, its own expressions may try exponentially many ways.
            reason, hint = _UNFINISHED[match[0]]
            raise InvalidError(reason, position=match.start(), hint=hint)
        if match.lastgroup is not None:
            what, hint = _REFUSED[match.lastgroup]
            raise UnsupportedError(f"{what} cannot be enforced", position=match.start(), hint=hint)


def _lift(text: str) -> tuple[str, dict[str, Node]]:
    """The text with names of terminals for what lark has no notation for, and what they stand for."""
    lifted, schemas = lift(text, _QUOTED)
    found: dict[int, tuple[int, Node]] = {at: (len("%json"), schema) for at, schema in schemas.items()}
    for match in _SPECIAL.finditer(lifted):
        written = match["special"]
        if written:
            found[match.start()] = len(written), special_token(written, match.start())
    names = _unused_names(text)
    leaves: dict[str, Node] = {}
    parts: list[str] = []
    end = 0
    for at, (width, node) in sorted(found.items()):
        name = next(names)
        leaves[name] = node
        parts += lifted[end:at], name.ljust(width)  # no name is longer than three characters: offsets stay
        end = at + width
    return "".join(parts) + lifted[end:], leaves


def _unused_names(text: str) -> Iterator[str]:
    """Names of terminals, of three characters, that do not occur in the text."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    for number in count():
        name = digits[number // 1296 % 26] + digits[number // 36 % 36] + digits[number % 36]
        if number >= 26 * 1296:
            raise LimitExceeded("max_leaves", number, 26 * 1296, what="special tokens and schemas in a grammar")
        if name not in text:
            yield name


# -------------------------------------------------------------------- lark


_NAMED = re.compile(r"\b(?:used for|Rule|Terminal|Template|terminal|rule|NonTerminal)\b\W{1,2}(\w+)")


def _load(lifted: str, leaves: Mapping[str, Node], text: str) -> Grammar:
    """The grammar as lark reads it; its errors as ours."""
    declared = f"\n%declare {' '.join(leaves)}\n" if leaves else ""
    try:
        return load_grammar(lifted + declared, "<string>", [], False)[0]  # type: ignore[no-untyped-call]
    except UnexpectedInput as error:
        _fail_at("this cannot stand here", error)
    except LarkError as error:
        cause: BaseException | None = error.__context__
        first = str(error).partition(" at line ")[0].rstrip(",")
        reason = (first[:1].lower() + first[1:]).replace("unexpected input", "this cannot stand here")
        if isinstance(cause, UnexpectedInput):
            _fail_at(reason, cause)
        named = _NAMED.search(first)
        name = named[1] if named else ""
        definitions = _definitions(text)
        if "not defined" in reason:
            position, hint = _occurrence(name, text), similar(name, definitions)
        else:
            position, hint = definitions.get(name, _occurrence(name, text)), ""
        raise InvalidError(reason, position=position, hint=hint) from error
    except OSError as error:
        name = str(error.filename).removesuffix(".lark")
        hint = "common, python, unicode and lark come with lark; paste the rules of others into the grammar"
        raise InvalidError(
            f"there is no grammar `{name}` to import", position=_occurrence(name, text), hint=hint
        ) from error
    except AssertionError as error:
        hint = "write special tokens and schemas into rules, not into terminals"
        raise InvalidError(
            f"lark cannot read the grammar: {str(error) or 'something is only declared'}", hint=hint
        ) from error


def _fail_at(reason: str, error: UnexpectedInput) -> NoReturn:
    at: Any = error.pos_in_stream  # None to a type checker, an int in fact
    position = at if at is not None and at >= 0 else None
    wanted = getattr(error, "expected", None) or set()
    closing = {"_RPAR": "a `)`", "_RBRA": "a `]`", "_COLON": "a `:`", "_RBRACE": "a `}`"}
    expected = [closing[name] for name in sorted(wanted) if name in closing]
    hint = (
        f"{' or '.join(expected)} is missing before it"
        if len(expected) == 1
        else "literals are written in double quotes"
    )
    raise InvalidError(reason, position=position, hint=hint) from error


def _definitions(text: str) -> dict[str, int]:
    """Where rules and terminals are defined."""
    return {match[1]: match.start() for match in re.finditer(r"^[?!]*(\w+)", text, re.MULTILINE)}


def _occurrence(name: str, text: str) -> int | None:
    """Where a name first occurs outside of what is quoted."""
    if not name:
        return None
    for match in re.finditer(rf"(?P<name>\b{re.escape(name)}\b)|{_QUOTED}", text):
        if match["name"]:
            return match.start()
    return None


# -------------------------------------------------------------------- rules


class _Reader:
    """Turns lark's trees of rules into bodies.

    Attributes:
        templates: by name, the parameters and the tree.
        terminals: by name, the tree; None where it is declared only.
        leaves: what the names of `_lift` stand for.
        definitions: where in the text names are defined.
        ignored: any number of what is ignored.
    """

    def __init__(self, grammar: Grammar, leaves: Mapping[str, Node], text: str) -> None:
        self.text, self.leaves, self.definitions = text, leaves, _definitions(text)
        self.templates = {name: (params, tree) for name, params, tree, _ in grammar.rule_defs}
        self.terminals: dict[str, Any] = {name: tree for name, (tree, _) in grammar.term_defs}
        self.languages: dict[str, Regex] = {}
        self.ignored = repeat(alternate(*map(self.language, grammar.ignore)), 0, None) if grammar.ignore else EPSILON
        self.pending: list[tuple[str, Tree[Any], Mapping[str, Any]]] = []
        self.known: set[str] = set()

    def rules(self, start: str) -> Rules:
        bodies: dict[str, Node] = {}
        positions: dict[str, int] = {}
        for name, (params, tree) in self.templates.items():
            if not params and tree is not None:
                self._ask_for(name, tree, {})
        for name, tree, arguments in self.pending:  # grows while templates are met
            bodies[name] = self.node(tree, arguments)
            place = name.partition("{")[0]
            if place in self.definitions:
                positions[name] = self.definitions[place]
        root = start
        if self.ignored is not EPSILON and start in bodies:
            root = "__start"  # no name of a user begins with two underscores
            bodies = {root: sequence([Text(self.ignored), Call(start)]), **bodies}
        return Rules(bodies, root, self.text, positions)

    def contextual_rules(self, grammar: Grammar, start: str) -> Rules:
        """As `rules`, which has been asked before, of what lark's LALR parser and contextual lexer accept."""

        def language(name: str, pattern: Pattern) -> Regex:
            sought = name if name in self.definitions else pattern.raw or pattern.value
            return self._language(pattern, f"the terminal {sought}", sought, strict=True)

        for leaf in self.leaves.values():
            if not isinstance(leaf, Special):
                hint = 'leave out lexer="contextual", or write the schema\'s texts as rules'
                raise UnsupportedError(
                    "%json cannot be told from other terminals by a lexer", keyword="%json", hint=hint
                )
        tables = read_tables(grammar, start)
        languages = {name: language(name, pattern) for name, pattern in tables.patterns.items()}
        lexer = Lexer(tables.scanners, languages, tables.ignored)
        specials = {name: leaf for name, leaf in self.leaves.items() if isinstance(leaf, Special)}

        def bodies() -> dict[str, Node]:
            return contextual_bodies(tables, lexer, languages, specials, start)

        parser = None if specials else parser_of(tables, lexer)
        if parser is not None:
            return Rules(Deferred(bodies), ROOT, self.text, parser=parser)
        found = bodies()
        positions = {
            name: self.definitions[place]
            for name in found
            if (place := re.split(r"[.{]", name, maxsplit=1)[0]) in self.definitions
        }
        return Rules(found, ROOT, self.text, positions)

    def _ask_for(self, name: str, tree: Tree[Any], arguments: Mapping[str, Any]) -> None:
        if name not in self.known:
            self.known.add(name)
            self.pending.append((name, tree, arguments))

    def node(self, item: Any, arguments: Mapping[str, Any], depth: int = 0) -> Node:
        """What a part of a rule derives; `arguments` has what stands for a template's parameters."""
        if isinstance(item, NonTerminal):
            if item.name in arguments:
                return self.node(arguments[item.name], {}, depth)
            self._refuse_declared(item.name)
            return Call(item.name)
        if isinstance(item, Terminal):
            return self.terminal(item.name)
        kind, children = item.data, item.children
        if kind in ("literal", "range"):
            return self._text(self._pattern(item), item)
        if kind == "template_usage":
            return Call(self.instance(item, arguments))
        if depth > MAX_GROUPS:
            hint = "give a part of it a name, as a rule of its own"
            raise LimitExceeded("max_groups", depth, MAX_GROUPS, what="nesting of groups in a rule", hint=hint)
        if kind in ("value", "alias"):
            return self.node(children[0], arguments, depth)
        if kind == "expr":
            return loop(self.node(children[0], arguments, depth), *_bounds(children[1:]))
        if kind == "maybe":
            return loop(self.node(children[0], arguments, depth), 0, 1)
        if kind == "expansions":
            return choice(self.node(child, arguments, depth + 1) for child in children)
        assert kind == "expansion", kind
        return sequence(self.node(child, arguments, depth) for child in children)

    def instance(self, usage: Tree[Any], arguments: Mapping[str, Any]) -> str:
        """The name of the rule that a template is with certain arguments."""
        symbol, *values = list[Any](usage.children)
        template = _spelling(arguments.get(symbol.name, symbol))
        given = [self._argument(value.children[0], arguments) for value in values]
        params, tree = self.templates[template]
        if len(params) != len(given):
            reason = f"the template `{template}` takes {len(params)} arguments, not {len(given)}"
            raise InvalidError(reason, position=_occurrence(template, self.text))
        name = f"{template}{{{','.join(map(_spelling, given))}}}"
        self._ask_for(name, tree, dict(zip(params, given, strict=True)))
        if len(self.known) > MAX_TEMPLATES + len(self.templates):
            hint = "a template that uses itself with ever larger arguments has no end"
            raise LimitExceeded("max_templates", len(self.known), MAX_TEMPLATES, what="uses of templates", hint=hint)
        return name

    def _argument(self, value: Any, arguments: Mapping[str, Any]) -> Any:
        if isinstance(value, NonTerminal):
            return arguments.get(value.name, value)
        if isinstance(value, Tree) and value.data == "template_usage":
            return NonTerminal(self.instance(value, arguments))
        return value

    # ---------------------------------------------------------------- terminals

    def terminal(self, name: str) -> Node:
        leaf = self.leaves.get(name)
        if leaf is not None:
            assert isinstance(leaf, Special | Json)
            return sequence([leaf, Text(self.ignored)])
        return sequence([Text(self.language(name)), Text(self.ignored)])

    def language(self, name: str) -> Regex:
        """The texts of a terminal."""
        if name not in self.languages:
            self._refuse_declared(name)
            self.languages[name] = self._language(self._pattern(self.terminals[name]), f"the terminal {name}", name)
        return self.languages[name]

    def _refuse_declared(self, name: str) -> None:
        tree = self.terminals.get(name, ()) if name in self.terminals else self.templates.get(name, ((), ()))[1]
        if tree is None:
            hint = f"give it a pattern; or, for a special token, write <|{name.lower()}|> where it stands"
            reason = f"{name} is declared and has no pattern"
            raise UnsupportedError(reason, keyword="%declare", position=_occurrence(name, self.text), hint=hint)

    def _text(self, pattern: Pattern, written: Tree[Any]) -> Node:
        raw = _spelling(written)
        return sequence([Text(self._language(pattern, raw, raw)), Text(self.ignored)])

    def _pattern(self, tree: Tree[Any]) -> Pattern:
        try:
            return (PrepareLiterals() * TerminalTreeToPattern()).transform(nr_deepcopy_tree(tree))  # type: ignore[no-untyped-call]
        except (AnyLarkError, AssertionError) as error:
            first = next((token for token in tree.scan_values(lambda value: isinstance(value, Token))), None)
            reason = str(error.__context__ or error).partition("\n")[0] or "both ends of a range are single characters"
            raise InvalidError(f"lark refuses a terminal: {reason}", position=self._place(first)) from error

    def _language(self, pattern: Pattern, what: str, sought: str, strict: bool = False) -> Regex:
        try:
            plain = isinstance(pattern, PatternStr) and not pattern.flags
            found = literal(pattern.value) if plain else scanned(pattern.to_regexp(), strict)
            if found.nullable:
                raise InvalidError(
                    f"{what} matches the empty text", hint="leave the empty text to the rules: [X] or X?"
                )
        except GrammarError as error:
            error.reason = error.reason if what in error.reason else f"{what}: {error.reason}"
            if error.position is None:
                place = self.definitions.get(sought, self.text.find(sought))
                error.position = None if place == -1 else place
            raise
        return found

    def _place(self, token: Token | None) -> int | None:
        """The offset of a token; None where it is from another grammar."""
        if token is None or token.start_pos is None or not self.text.startswith(str(token), token.start_pos):
            return None
        return token.start_pos


def _spelling(value: Any) -> str:
    """A symbol or literal as it is written."""
    if isinstance(value, NonTerminal | Terminal):
        return value.name
    return "..".join(str(token) for token in value.children)


def _bounds(operator: list[Any]) -> tuple[int, int | None]:
    """How often what stands before `*`, `+`, `?`, `~ 2` or `~ 2..3` may come."""
    sign, *numbers = operator
    if not numbers:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[str(sign)]
    low, high = int(numbers[0]), int(numbers[-1])
    if low < 0 or high < low:
        reason = (
            f"the count {low}..{high} is below zero"
            if low < 0
            else f"the count {low}..{high} has its bounds in the wrong order"
        )
        raise InvalidError(reason, position=sign.start_pos)
    return low, high
