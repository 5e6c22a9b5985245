"""Reading calls of tools out of an answer: the way back from the tables of tool_formats.toml.

    <think>...</think>Let me see.<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>
    reasoning         content    call

What is read was written inside the grammar of `compile_tools` for the same format and tools, with special tokens by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.grammars.errors import InvalidError
from maskwright.grammars.tool_calls import tool_formats
from maskwright.grammars.xml_parameters import STYLES

__all__ = ["Answer", "Call", "read_answer"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: a tool's name, and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer taken apart; reasoning is None where there was none."""

    content: str
    calls: tuple[Call, ...]
    reasoning: str | None = None


def read_answer(text: str, tools: Sequence[Mapping[str, Any]], format: str) -> Answer:
    """Take an answer of a format apart.

    Args:
        text: the whole answer, special tokens by their names.
        tools: the definitions that `compile_tools` was given.
        format: the name of a table in tool_formats.toml.

    Raises:
        InvalidError: a call breaks off, which no complete answer's does.
    """
    table = tool_formats()[format]
    functions = {function["name"]: function for tool in tools for function in [tool.get("function", tool)]}
    if "messages" in table:
        return _of_messages(text, table, functions)
    reasoning, text = _reasoning(text, table)
    calls, ahead = _calls(text, table, functions)
    content = text if ahead is None else ahead
    for begin in (table.get("section") or {}).get("begin", ()):
        content = content.removesuffix(begin)
    return Answer(content.strip() if calls else content, calls, reasoning)


def _reasoning(text: str, table: Mapping[str, Any]) -> tuple[str | None, str]:
    marks = table.get("reasoning")
    if marks is None or marks["end"] not in text:
        return None, text
    reasoning, _, rest = text.partition(marks["end"])
    return reasoning.removeprefix(marks["begin"]), rest.removeprefix(marks["after"])


def _of_messages(text: str, table: Mapping[str, Any], functions: Mapping[str, Any]) -> Answer:
    calls, _ = _calls(text, table, functions)
    found = {kind: _between(text, marks) for kind, marks in table["messages"].items()}
    content = [*found.get("preamble", []), *found["answer"]]
    reasoning = found.get("reasoning", [])
    return Answer("\n".join(content), calls, "\n".join(reasoning) if reasoning else None)


def _between(text: str, marks: Mapping[str, Any]) -> list[str]:
    """The messages of one kind; the last may lack its end, which ends the answer."""
    ends = "|".join(map(re.escape, marks["end"]))
    return re.findall(f"{re.escape(marks['begin'])}(.*?)(?:{ends}|$)", text, re.DOTALL)


def _calls(text: str, table: Mapping[str, Any], functions: Mapping[str, Any]) -> tuple[tuple[Call, ...], str | None]:
    """The calls, and the text ahead of the first one; None where there are none."""
    names = "|".join(sorted(map(re.escape, functions), key=len, reverse=True)) or "(?!)"
    begins = [table["begin"]] if isinstance(table["begin"], str) else table["begin"]
    patterns = "|".join(re.escape(begin).replace(re.escape("{name}"), f"(?:{names})") for begin in begins)
    finder, calls, at, ahead = re.compile(patterns), list[Call](), 0, None
    while (found := finder.search(text, at)) is not None:
        if ahead is None:
            ahead = text[: found.start()]
        begun = found.group()
        name = next(name for name in sorted(functions, key=len, reverse=True) if _begins(begun, begins, name))
        arguments, at = _arguments(text, found.end(), table, functions[name])
        calls.append(Call(name, arguments))
    return tuple(calls), ahead


def _begins(begun: str, begins: Sequence[str], name: str) -> bool:
    return any(begun == begin.replace("{name}", name) for begin in begins)


def _arguments(text: str, start: int, table: Mapping[str, Any], function: Mapping[str, Any]) -> tuple[str, int]:
    """The arguments of a call as JSON, and where they end."""
    if "arguments" in table:
        end = text.find(table["end"], start)
        if end < 0:
            raise InvalidError(f"the call of {function['name']} breaks off")
        return json.dumps(_parameters(text[start:end], table["arguments"], function), ensure_ascii=False), end
    while start < len(text) and text[start].isspace():
        start += 1
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise InvalidError(f"the call of {function['name']} breaks off: {error}") from error
    return text[start:end], end


def _parameters(text: str, style: str, function: Mapping[str, Any]) -> dict[str, Any]:
    """The values of tags, one a parameter: strings as they are, others as JSON."""
    marks, properties = STYLES[style], (function.get("parameters") or {}).get("properties", {})
    behind = r"\s*".join(map(re.escape, marks.behind))
    written = re.compile(f"{re.escape(marks.begin)}(.*?){behind}(.*?){re.escape(marks.end)}", re.DOTALL)
    found: dict[str, Any] = {}
    for name, value in written.findall(text):
        schema = properties.get(name)
        found[name] = _value(value, schema if isinstance(schema, Mapping) else {})
    return found


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    if schema.get("type") != "string":
        try:
            return json.loads(text)
        except ValueError:
            pass  # a string of a schema that admits others, too
    return text.removeprefix("\n").removesuffix("\n")
