"""Making the nodes of `rules`: the parts of a body that are regular become one Text.

    sequence([Text(a), Text([0-9]), Call(x)])   Sequence(Text(a[0-9]), Call(x))
    choice([Text(a), Call(x), Text(b)])         Choice(Text([ab]), Call(x))
    loop(Text(a), 0, None)                      Text(a*)

Front ends build bodies with these, so that a compiler meets few large regular languages and not many small items. No
rule is inlined here: a name stays a Call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from maskwright.grammars.errors import InvalidError
from maskwright.grammars.regular import EPSILON, Regex, alternate, concat, repeat
from maskwright.grammars.rules import Call, Choice, Loop, Node, Rules, Sequence, Special, Text

__all__ = ["EMPTY_TEXT", "children", "choice", "loop", "nodes", "renamed", "sequence", "similar", "validate"]

EMPTY_TEXT = Text(EPSILON)
_MERGED_NESTING = 40  # of operators: deeper languages are left apart, far from the limit of `regular_nodes`


def sequence(items: Iterable[Node]) -> Node:
    """The items one after the other; neighbours that are regular become one."""
    parts: list[Node] = []
    run: list[Regex] = []
    for item in _flat(items, Sequence):
        if isinstance(item, Text) and item.language.nesting < _MERGED_NESTING:
            run.append(item.language)
            continue
        if run:
            parts.append(Text(concat(*run)))
            run = []
        parts.append(item)
    if run and not (parts and all(language is EPSILON for language in run)):
        parts.append(Text(concat(*run)))
    parts = [part for part in parts if len(parts) == 1 or part != EMPTY_TEXT]
    if len(parts) == 1:
        return parts[0]
    return Sequence(tuple(parts)) if parts else EMPTY_TEXT


def choice(items: Iterable[Node]) -> Node:
    """Any of the items; those that are regular become one, in the place of the first of them."""
    parts: list[Node] = []
    regular: list[Regex] = []
    at = 0
    for item in _flat(items, Choice):
        if isinstance(item, Text) and item.language.nesting < _MERGED_NESTING:
            at = at if regular else len(parts)
            regular.append(item.language)
        else:
            parts.append(item)
    if regular:
        parts.insert(at, Text(alternate(*regular)))
    return parts[0] if len(parts) == 1 else Choice(tuple(parts))


def loop(item: Node, low: int, high: int | None) -> Node:
    """From `low` to `high` items, any number from `low` on where `high` is None."""
    if isinstance(item, Text) and item.language.nesting < _MERGED_NESTING:
        return Text(repeat(item.language, low, high))
    if high == 0:
        return EMPTY_TEXT
    return item if low == high == 1 else Loop(item, low, high)


def _flat(items: Iterable[Node], kind: type[Sequence] | type[Choice]) -> Iterator[Node]:
    """The items, and in the place of one that is of `kind` its own; these were made here, so one level is all."""
    for item in items:
        if isinstance(item, Sequence | Choice) and isinstance(item, kind):
            yield from item.items
        else:
            yield item


def children(node: Node) -> tuple[Node, ...]:
    """The nodes that a node is made of."""
    if isinstance(node, Sequence | Choice):
        return node.items
    return (node.item,) if isinstance(node, Loop) else ()


def nodes(body: Node) -> Iterator[Node]:
    """A body and all nodes inside, from left to right."""
    pending = [body]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(children(node)))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """A body that calls rules by other names. Positions are left out: the source they point into is another one."""
    if isinstance(node, Call):
        return Call(names[node.name])
    if isinstance(node, Special):
        return Special(node.token)
    if isinstance(node, Loop):
        return Loop(renamed(node.item, names), node.low, node.high)
    if isinstance(node, Sequence):
        return Sequence(tuple(renamed(item, names) for item in node.items))
    if isinstance(node, Choice):
        return Choice(tuple(renamed(item, names) for item in node.items))
    return node


def similar(name: str, known: Iterable[str]) -> str:
    """A hint that names what `name` may be a misspelling of; "" where nothing is close."""
    near = get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else ""


def validate(rules: Rules, root_option: str) -> Rules:
    """The same rules, whose root and every name called are defined.

    Args:
        rules: of a front end; errors point into `rules.source`.
        root_option: how the front end's parameter that names the root is called, for the hint.

    Raises:
        InvalidError: a name is not defined; the message says which, the hint what is spelled like it.
    """
    if rules.root not in rules.bodies:
        first = next(iter(rules.bodies), None)
        hint = similar(rules.root, rules.bodies) or (
            f'define it, or name the rule that texts begin with: {root_option}="{first}"' if first else "define it"
        )
        raise InvalidError(f"the grammar has no rule `{rules.root}`, which texts begin with", hint=hint)
    for body in rules.bodies.values():
        for node in nodes(body):
            if isinstance(node, Call) and node.name not in rules.bodies:
                hint = similar(node.name, rules.bodies) or "define it, or write a literal in quotes"
                error = InvalidError(f"the rule `{node.name}` is not defined", position=node.position, hint=hint)
                raise error.within(rules.source)
    return rules
