"""An automaton as a drawing: DOT text, with the bytes of every edge in words, which Graphviz turns into SVG."""

from __future__ import annotations

import string
import subprocess
from collections.abc import Iterable, Iterator

from maskwright.cli_failures import CommandError
from maskwright.cli_tables import Edge, State

__all__ = ["byte_label", "dot_lines", "svg_of"]

_PLAIN = frozenset(map(ord, string.ascii_letters + string.digits))
_NAMES = {0x09: "tab", 0x0A: "newline", 0x0D: "return", 0x20: "space"}
_MANY = 32  # bytes of an edge from which on it is named by its ends and what is missing between them


def dot_lines(states: Iterable[State], root: int) -> Iterator[str]:
    """The lines of a `digraph`.

    Double circles end their frame. Solid edges read bytes; a bold one reads a whole value (or key) by calling the state
    that a dashed edge leads to; dotted ones read nothing.
    """
    yield "digraph automaton {"
    yield "  rankdir=LR;"
    yield "  node [shape=circle, fontname=monospace, fontsize=10];"
    yield "  edge [fontname=monospace, fontsize=9];"
    yield '  start [shape=point, label=""];'
    yield f"  start -> {root};"
    for state in states:
        yield f"  {state.number} [{_node(state)}];"
        for edge in state.edges:
            yield from _edge_lines(state, edge)
        for target, label in ((state.stands_for, "is"), (state.otherwise, "else as"), (state.at_zero, "at 0")):
            if target is not None:
                yield f"  {state.number} -> {target} [style=dotted, label={_quoted(label)}];"
    yield "}"


def svg_of(drawing: str) -> str:
    """The SVG that Graphviz makes of a `digraph`.

    Raises:
        CommandError: Graphviz is not installed, or gave up.
    """
    try:
        done = subprocess.run(["dot", "-Tsvg"], input=drawing, capture_output=True, check=True, text=True)
    except FileNotFoundError as error:
        hint = "install Graphviz (its command `dot`), or write --dot FILE and draw it elsewhere"
        raise CommandError(f"an SVG needs Graphviz, which is not installed: {hint}", kind="missing") from error
    except subprocess.CalledProcessError as error:
        raise CommandError(f"Graphviz cannot draw this automaton: {error.stderr.strip()}") from error
    return done.stdout


def _node(state: State) -> str:
    lines = [str(state.number)]
    if state.result is not None:
        lines.append(f"ends: {state.result}" if state.ends else f"may end: {state.result}")
    if state.counter:
        lines.append(state.counter)
    shape = ", shape=doublecircle" if state.result is not None else ""
    return f"label={_quoted(chr(10).join(lines))}{shape}"


def _edge_lines(state: State, edge: Edge) -> Iterator[str]:
    label = _quoted(byte_label(edge.bytes))
    if edge.return_to is None:
        yield f"  {state.number} -> {edge.target} [label={label}];"
    else:
        yield f"  {state.number} -> {edge.return_to} [style=bold, label={label}];"
        yield f"  {state.number} -> {edge.target} [style=dashed, constraint=false];"


def byte_label(members: list[int]) -> str:
    """Some bytes (ascending), exactly: `space "`, `0-9 a-f`, `0x80-0xbf`, `0x20-0x7f but " \\`."""
    first, last = members[0], members[-1]
    missing = sorted(set(range(first, last)).difference(members))
    if len(members) >= _MANY and len(missing) < len(members) // 4:
        return f"0x{first:02x}-0x{last:02x}" + (f" but {byte_label(missing)}" if missing else "")
    parts, run = [], members[:1]
    for byte in [*members[1:], -1]:
        if byte == run[-1] + 1 and _kind(byte) == _kind(run[0]) != "sign":
            run.append(byte)
            continue
        parts += [f"{_name(run[0])}-{_name(run[-1])}"] if len(run) > 2 else [_name(one) for one in run]
        run = [byte]
    return " ".join(parts)


def _kind(byte: int) -> str:
    """Bytes of one kind can be named as a range."""
    if byte in _PLAIN:
        return "digit" if byte < 0x40 else "upper" if byte < 0x60 else "lower"
    return "sign" if 0x20 < byte < 0x7F or byte in _NAMES else "hex"


def _name(byte: int) -> str:
    if byte in _NAMES:
        return _NAMES[byte]
    return chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02x}"


def _quoted(text: str) -> str:
    """`text` as a quoted string of DOT, line ends as line breaks."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
