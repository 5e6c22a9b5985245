"""Texts of the grammars that grammars.py measures: made up, always the same, and like what people write.

A generator is given a source of chance and yields texts without end; each of them is a sentence of its grammar.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["GENERATORS", "texts"]


def _words(*lines: str) -> list[str]:
    return " ".join(lines).split()


_VERBS = _words("load parse merge update count find filter build check render split normalize fetch store reduce")
_NOUNS = _words(
    "user order item price record token node matrix value report invoice window buffer signal state total",
    "customer account session route index vector image sample batch weight score message",
)
_ADJECTIVES = _words("old new last first empty valid hidden local remote total partial active maximum sorted")
_OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "|", "&", "==", "!=", "<", ">=", "and", "or", "in", "is", "<<")
_SENTENCES = (
    "The committee will meet again on Thursday, provided that everyone's calendar allows it.",
    "Nobody expected the harbour to freeze so early; the boats (all 14 of them) were still in the water.",
    "She asked for a cup of tea, two slices of toast, and the newspaper from the day before yesterday.",
    "In 1987 the bridge carried 20,000 vehicles a day, about 35% more than it was designed for.",
    'He said "wait here" and walked off towards the station without looking back.',
    "A well-tested program is easier to change than a clever one, as every maintainer learns sooner or later.",
    "Results improved after the third round: errors fell from 7.2% to 1.9%, and nobody could say why!",
    "Please send the signed form to office@example.org before 31/12, or call us at +44 20 7946 0958.",
    "What would it cost to heat the building for another winter? Nobody in the room seemed to know.",
)
_JAPANESE = (
    "吾輩は猫である。名前はまだ無い。",
    "どこで生れたかとんと見当がつかぬ。",
    "国境の長いトンネルを抜けると雪国であった。",
    "春はあけぼの。やうやう白くなりゆく山ぎは、少し明かりて、紫だちたる雲の細くたなびきたる。",
    "東京の天気は晴れ、最高気温は二十八度でしょう。",
    "「コンピューターの勉強をしています」と彼女は言った。",
    "来週の会議は水曜日の午後三時から、本社ビルの大会議室で行われます。",
    "このレストランのメニューには、カレーライスとハンバーグがあります。",
    "電車が遅れているので、少し待っていただけますか。",
    "日本語の文章には、ひらがなとカタカナと漢字がまざっている。",
)
_OPENINGS = (
    "e4 e5 Nf3 d6 d4 Bg4 dxe5 Bxf3 Qxf3 dxe5 Bc4 Nf6 Qb3 Qe7 Nc3 c6 Bg5 b5 Nxb5 cxb5 Bxb5+ Nbd7 O-O-O Rd8",
    "e4 e5 f4 exf4 Bc4 Qh4+ Kf1 b5 Bxb5 Nf6 Nf3 Qh6 d3 Nh5 Nh4 Qg5 Nf5 c6 g4 Nf6 Rg1 cxb5 h4 Qg6 h5 Qg5 Qf3 Ng8",
    "d4 Nf6 c4 e6 Nc3 Bb4 e3 O-O Bd3 d5 Nf3 c5 O-O Nc6 a3 Bxc3 bxc3 dxc4 Bxc4 Qc7 Bd3 e5 Qc2 Re8",
    "e4 c5 Nf3 d6 d4 cxd4 Nxd4 Nf6 Nc3 a6 Bg5 e6 f4 Be7 Qf3 Qc7 O-O-O Nbd7 g4 b5 Bxf6 Nxf6 g5 Nd7",
    "c4 e5 Nc3 Nf6 Nf3 Nc6 g3 d5 cxd5 Nxd5 Bg2 Nb6 O-O Be7 d3 O-O Be3 Be6 Rc1 f6 a3 a5",
)

Chance = random.Random


def _name(chance: Chance) -> str:
    noun = chance.choice(_NOUNS)
    return chance.choice(
        (noun, noun, f"{chance.choice(_ADJECTIVES)}_{noun}", f"{chance.choice(_VERBS)}_{noun}", noun[0])
    )


def _function(chance: Chance) -> str:
    return f"{chance.choice(_VERBS)}_{chance.choice(_NOUNS)}"


def _type(chance: Chance) -> str:
    return chance.choice(_ADJECTIVES).title() + chance.choice(_NOUNS).title()


def _sentence(chance: Chance) -> str:
    words = chance.choice(_SENTENCES).split()
    start = chance.randrange(max(1, len(words) - 4))
    return " ".join(words[start : start + chance.randint(3, 12)])


# ------------------------------------------------------------------------------------------------- the GBNF grammars


def _arithmetic(chance: Chance) -> Iterator[str]:
    def term(depth: int) -> str:
        if depth and chance.random() < 0.3:
            return f"({expression(depth - 1)})"
        return _name(chance) if chance.random() < 0.5 else str(chance.randrange(10 ** chance.randint(1, 5)))

    def expression(depth: int) -> str:
        found = term(depth)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            found += f" {chance.choice('-+*/')}{term(depth)}"
        return found

    while True:
        yield "".join(f"{expression(3)} = {term(1)}\n" for _ in range(chance.randint(20, 40)))


def _c(chance: Chance) -> Iterator[str]:
    def factor(depth: int) -> str:
        kind = chance.random()
        if depth and kind < 0.1:
            return f"( {expression(depth - 1)} )"
        if depth and kind < 0.2:
            return f"{_function(chance)}({arguments(depth - 1)})"
        if kind < 0.25:
            return "-" + factor(depth)
        return _name(chance) if kind < 0.7 else str(chance.randrange(1000))

    def expression(depth: int) -> str:
        found = factor(depth)
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            found += chance.choice("+-*/") + factor(depth)
        return found

    def arguments(depth: int) -> str:
        return ", ".join(expression(depth) for _ in range(chance.randint(0, 3)))

    def condition() -> str:
        return expression(1) + chance.choice(("<=", "<", "==", "!=", ">=", ">")) + expression(1)

    def block(depth: int) -> str:
        return "{" + "".join(statement(depth - 1) for _ in range(chance.randint(1, 4))) + "}"

    def statement(depth: int) -> str:
        kind = chance.random()
        if depth and kind < 0.1:
            name = chance.choice("ijk")
            return f"for(int {name} = 0; {name}<{expression(0)}; {name} = {name}+1){block(depth)}"
        if depth and kind < 0.2:
            return f"while({condition()}){block(depth)}"
        if depth and kind < 0.35:
            return f"if({condition()}){block(depth)}" + (f"else{block(depth)}" if chance.random() < 0.4 else "")
        if kind < 0.45:
            return f"// {_sentence(chance)}\n"
        if kind < 0.5:
            return f"/* {_sentence(chance)} */"
        if kind < 0.65:
            return f"{chance.choice(('int', 'float', 'char'))} {_name(chance)} = {expression(2)};"
        if kind < 0.85:
            return f"{_name(chance)} = {expression(2)};"
        return f"{_function(chance)} ({arguments(1)});"

    while True:
        kind = chance.choice(("int", "float", "char"))
        parameter = f"{chance.choice(('int', 'float', 'char'))} {_name(chance)}" if chance.random() < 0.8 else ""
        body = "".join(statement(2) for _ in range(chance.randint(2, 8)))
        yield f"{kind} {_function(chance)}({parameter}){{{body}return {expression(2)};}}"


def _chess(chance: Chance) -> Iterator[str]:
    def move() -> str:
        square = chance.choice("abcdefgh") + str(chance.randint(1, 8))
        check = chance.choice(("", "", "", "", "", "+", "#"))
        kind = chance.random()
        if kind < 0.3:
            return chance.choice(("", "", chance.choice("abcdefgh") + "x")) + square + check
        if kind < 0.33:
            return chance.choice(("O-O", "O-O-O")) + check
        if kind < 0.36:
            return f"{chance.choice('abcdefgh')}8={chance.choice('QQQN')}{check}"
        piece = chance.choice("NBKQRNBQR") + chance.choice(("", "", "", "", *"abde12"))
        return piece + chance.choice(("", "", "x")) + square + check

    while True:
        moves = chance.choice(_OPENINGS).split()
        moves += [move() for _ in range(2 * chance.randint(15, 40))]
        pairs = zip(moves[::2], moves[1::2], strict=True)
        yield "".join(f"{number}. {white} {black}\n" for number, (white, black) in enumerate(pairs, 1))


def _english(chance: Chance) -> Iterator[str]:
    while True:
        sentences = [chance.choice(_SENTENCES) if chance.random() < 0.5 else _sentence(chance) for _ in range(12)]
        yield "".join(sentence + chance.choice("  \n") for sentence in sentences) + "End."


def _japanese(chance: Chance) -> Iterator[str]:
    while True:
        sentences = [chance.choice(_JAPANESE) for _ in range(12)]
        yield chance.choice(" \n").join(sentence[chance.choice((0, 0, 0, 2, 4)) :] for sentence in sentences)


def _value(chance: Chance, depth: int) -> Any:
    kind = chance.random()
    if depth and kind < 0.25:
        return {_name(chance): _value(chance, depth - 1) for _ in range(chance.randint(1, 5))}
    if depth and kind < 0.4:
        return [_value(chance, depth - 1) for _ in range(chance.randint(0, 4))]
    if kind < 0.6:
        return chance.randrange(10 ** chance.randint(1, 6)) / chance.choice((1, 10, 100))
    if kind < 0.7:
        return chance.choice((True, False, None))
    return chance.choice((_sentence(chance), _name(chance), chance.choice(_JAPANESE), "C:\\temp\\" + _name(chance)))


def _record(chance: Chance) -> dict[str, Any]:
    return {
        "id": chance.randrange(100_000),
        "name": _type(chance),
        **{_name(chance): _value(chance, 2) for _ in range(chance.randint(2, 6))},
        "tags": [chance.choice(_ADJECTIVES) for _ in range(chance.randint(0, 3))],
    }


def _json(chance: Chance) -> Iterator[str]:
    while True:
        indent = chance.choice((2, 2, 4, None))
        yield json.dumps({_name(chance): _record(chance) for _ in range(3)}, indent=indent, ensure_ascii=False)


def _json_array(chance: Chance) -> Iterator[str]:
    while True:
        records = [json.dumps(_record(chance), indent=2, ensure_ascii=False) for _ in range(4)]
        yield "[\n" + ",\n".join(records) + "\n]"


def _list(chance: Chance) -> Iterator[str]:
    while True:
        yield "".join(f"- {chance.choice(_ADJECTIVES)} {_sentence(chance)}\n" for _ in range(20))


def _tiny_sql(chance: Chance) -> Iterator[str]:
    while True:
        column, table, other, number = (chance.randint(1, 2) for _ in range(4))
        yield f"SELECTcol_{column}fromtable_{table}wherecol_{other}={number}"


# ------------------------------------------------------------------------------------------------- the Lark grammars


def _sql(chance: Chance) -> Iterator[str]:
    def column() -> str:
        return chance.choice((_name(chance), f"{chance.choice('abt')}.{_name(chance)}"))

    def operand(depth: int) -> str:
        kind = chance.random()
        if depth and kind < 0.15:
            function = chance.choice(("count", "sum", "avg", "max", "coalesce", "lower"))
            return f"{function}({chance.choice(('', 'DISTINCT '))}{operand(depth - 1)})"
        if depth and kind < 0.2:
            return f"CASE WHEN {condition(depth - 1)} THEN {operand(0)} ELSE {operand(0)} END"
        if depth and kind < 0.25:
            return f"({operand(depth - 1)} {chance.choice('+-*/')} {operand(depth - 1)})"
        if kind < 0.4:
            return str(chance.randrange(1000) / chance.choice((1, 100)))
        return "'" + _sentence(chance).replace("'", "''") + "'" if kind < 0.5 else column()

    def condition(depth: int) -> str:
        kind = chance.random()
        if depth and kind < 0.25:
            return f"{condition(depth - 1)} {chance.choice(('AND', 'OR'))} {condition(depth - 1)}"
        if depth and kind < 0.35:
            return f"{column()} {chance.choice(('IN', 'NOT IN'))} ({select(depth - 1)})"
        if depth and kind < 0.4:
            return f"NOT EXISTS ({select(depth - 1)})"
        if kind < 0.5:
            return f"{column()} BETWEEN {operand(0)} AND {operand(0)}"
        if kind < 0.6:
            return f"{column()} LIKE '%{_name(chance)}%'"
        if kind < 0.65:
            return f"{column()} IS NOT NULL"
        return f"{operand(depth)} {chance.choice(('=', '<>', '<=', '>', '<'))} {operand(depth)}"

    def select(depth: int) -> str:
        columns = ", ".join(
            operand(depth) + chance.choice(("", f" AS {_name(chance)}")) for _ in range(chance.randint(1, 4))
        )
        source = f"({select(depth - 1)}) AS t" if depth and chance.random() < 0.15 else f"{_name(chance)}s AS a"
        found = f"SELECT {columns}\nFROM {source}"
        for _ in range(chance.choice((0, 0, 1, 1, 2)) if depth else 0):
            kind = chance.choice(("JOIN", "LEFT JOIN", "INNER JOIN"))
            found += f"\n  {kind} {_name(chance)}s AS b ON a.{_name(chance)} = b.{_name(chance)}"
        if chance.random() < 0.7:
            found += f"\nWHERE {condition(depth)}"
        if depth and chance.random() < 0.3:
            found += f"\nGROUP BY {column()}, {column()} HAVING count(*) > {chance.randrange(10)}"
        return found

    while True:
        found = f"WITH recent AS ({select(1)})\n" if chance.random() < 0.2 else ""
        found += select(2)
        if chance.random() < 0.3:
            found += f"\n-- {_sentence(chance)}"
        if chance.random() < 0.2:
            found += f"\nUNION ALL\n{select(1)}"
        if chance.random() < 0.5:
            found += f"\nORDER BY {column()} {chance.choice(('ASC', 'DESC'))} LIMIT {chance.randrange(1, 100)}"
        yield found + ";\n"


def _python(chance: Chance) -> Iterator[str]:
    def atom(depth: int) -> str:
        kind = chance.random()
        if not depth or kind < 0.35:
            return _name(chance)
        if kind < 0.45:
            return str(chance.randrange(1000) / chance.choice((1, 1, 10)))
        if kind < 0.6:
            return chance.choice(("", "", "f")) + json.dumps(_sentence(chance))
        if kind < 0.65:
            return f"[{expression(0)} for {_name(chance)} in {atom(1)} if {expression(0)}]"
        if kind < 0.7:
            return f"{{'{_name(chance)}': {expression(depth - 1)}, '{_name(chance)}': {expression(0)}}}"
        if kind < 0.75:
            return f"({expression(depth - 1)})"
        if kind < 0.8:
            return f"{_name(chance)}[{expression(0)}{chance.choice(('', ':', ':-1'))}]"
        arguments = ", ".join(
            chance.choice(("", "", f"{chance.choice(_NOUNS)}=")) + expression(depth - 1)
            for _ in range(chance.randint(0, 3))
        )
        return f"{chance.choice(('self.', '', f'{_name(chance)}.'))}{_function(chance)}({arguments})"

    def expression(depth: int) -> str:
        kind = chance.random()
        if not depth or kind < 0.55:
            return atom(depth)
        if kind < 0.6:
            return f"{atom(0)} if {expression(0)} else {atom(0)}"
        if kind < 0.65:
            return f"not {atom(depth - 1)}"
        if kind < 0.68:
            return f"lambda {_name(chance)}: {atom(depth - 1)}"
        operator = chance.choice(
            ["+", "-", "*", "/", "//", "%", "**", "|", "&", "==", "!=", "<", ">=", "and", "or", "in", "is", "<<"]
        )
        return f"{atom(depth - 1)} {operator} {atom(depth - 1)}"

    def block(depth: int) -> list[str]:
        lines = [line for _ in range(chance.randint(1, 4)) for line in statement(depth)]
        return ["    " + line for line in lines]

    def statement(depth: int) -> list[str]:
        kind = chance.random()
        if depth and kind < 0.12:
            return [f"for {_name(chance)} in {expression(1)}:", *block(depth - 1)]
        if depth and kind < 0.27:
            rest = ["else:", *block(depth - 1)] if chance.random() < 0.3 else []
            return [f"if {expression(2)}:", *block(depth - 1), *rest]
        if depth and kind < 0.32:
            return ["try:", *block(depth - 1), f"except {_type(chance)}Error as error:", "    raise"]
        if depth and kind < 0.36:
            return [f"with {_function(chance)}({atom(1)}) as {_name(chance)}:", *block(depth - 1)]
        if kind < 0.42:
            return [f"# {_sentence(chance)}"]
        if kind < 0.55:
            return [f"return {expression(2)}"]
        if kind < 0.65:
            return [f"self.{_function(chance)}({expression(2)})"]
        if kind < 0.7:
            return [f"{_name(chance)} {chance.choice(('+=', '-=', '*=', '|='))} {expression(1)}"]
        target = chance.choice((_name(chance), f"self.{_name(chance)}", f"{_name(chance)}, {_name(chance)}"))
        return [f"{target} = {expression(2)}"]

    def function(first: str = "") -> list[str]:
        names = [_name(chance) + chance.choice(("", ": int", ": list[str]", " = None")) for _ in range(2)]
        head = f"def {_function(chance)}({', '.join(([first] if first else []) + names)})"
        return [
            head + chance.choice((":", " -> bool:", " -> dict[str, int]:")),
            *block(2),
            f"    return {expression(1)}",
        ]

    while True:
        lines = [
            f"from {_name(chance)} import {_type(chance)}",
            f"import {_name(chance)} as {chance.choice(_NOUNS)}",
            "",
        ]
        lines += ["@dataclass", f"class {_type(chance)}({_type(chance)}):", f"    {_name(chance)}: int = 0", ""]
        for _ in range(2):
            lines += [*("    " + line for line in function("self")), ""]
        yield "\n".join([*lines, *function(), ""])


GENERATORS: dict[str, Callable[[Chance], Iterator[str]]] = {
    "arithmetic.gbnf": _arithmetic,
    "c.gbnf": _c,
    "chess.gbnf": _chess,
    "english.gbnf": _english,
    "japanese.gbnf": _japanese,
    "json.gbnf": _json,
    "json_arr.gbnf": _json_array,
    "list.gbnf": _list,
    "vllm-sql.gbnf": _tiny_sql,
    "json.lark": _json,
    "python.lark": _python,
    "sql.lark": _sql,
}


def texts(name: str, encode: Callable[[str], list[int]], least: int) -> list[list[int]]:
    """The tokens of texts of a grammar, the first `least` tokens or a few more; always the same ones."""
    found: list[list[int]] = []
    chance = random.Random(name)
    made = GENERATORS[name](chance)
    while sum(map(len, found)) < least:
        found.append(encode(next(made)))
    return found
