"""Calls of tools as models write them: OpenAI's definitions of tools into a structural tag, by the tables of formats.

    describe_tools([{"type": "function", "function": {"name": "add", "parameters": {...}}}], format="qwen")
    {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<tool_call>"], "tags": [...]}}

The tables are data (tool_formats.toml): a model that writes its calls in another way is one more table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from maskwright.grammars.errors import InvalidError, UnsupportedError

__all__ = ["Reasoning", "describe_tools", "tool_formats"]

Reasoning = Literal["none", "begun", "required", "optional"]
_REASONING = ("none", "begun", "required", "optional")
_ANY_ARGUMENTS: Mapping[str, Any] = MappingProxyType({"type": "object"})


@cache
def tool_formats() -> Mapping[str, Mapping[str, Any]]:
    """The tables of formats, by their names."""
    text = files("maskwright.grammars").joinpath("tool_formats.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))


def describe_tools(
    tools: Sequence[Mapping[str, Any]],
    format: str,
    *,
    tool_choice: str | Mapping[str, Any] = "auto",
    parallel: bool | None = None,
    reasoning: Reasoning = "none",
) -> dict[str, Any]:
    """The structural tag of an answer that may call tools.

    Args:
        tools: as OpenAI's chat completions take them, `{"type": "function", "function": {"name", "parameters", ...}}`, or
            the inner objects alone. Without `parameters`, or with `"strict": false`, any object is an argument.
        format: the name of a table in tool_formats.toml.
        tool_choice: "auto": text, and calls in it; "none": text; "required": one call at least, and no text; the name of a
            tool as OpenAI has it, `{"type": "function", "function": {"name": ...}}`: calls of that one, and no text.
        parallel: whether several calls may follow each other; None: as the model was made to.
        reasoning: what comes ahead: "none"; "begun": reasoning that the prompt has begun; "required" or "optional":
            reasoning that the model begins. Where an answer is a sequence of messages, they are those it may have: with
            "none" no reasoning is among them.

    Raises:
        InvalidError: no such format, a tool without a name, two of one name, a choice that is none of the tools.
        UnsupportedError: the format has no reasoning, or no several calls.
    """
    table = tool_formats().get(format)
    if table is None:
        raise InvalidError(f"there is no tool format {format!r}", hint=f"choose one of {', '.join(tool_formats())}")
    if reasoning not in _REASONING:
        raise InvalidError(f"reasoning={reasoning!r}", hint=f"choose one of {', '.join(map(repr, _REASONING))}")
    chosen, choice = _chosen(_functions(tools), tool_choice)
    several = table.get("parallel", True) if parallel is None else parallel
    if several and "messages" in table:
        raise UnsupportedError(
            f"an answer in the format {format!r} ends with its first call", hint="pass parallel=False"
        )
    tags = [tag for function in chosen for tag in _tags(function, table)]
    if "messages" in table:
        return _tagged(_messages(table, tags, choice, reasoning))
    calls = _calls(table, tags, choice, several)
    ahead = _ahead(table, format, reasoning)
    return _tagged({"type": "sequence", "elements": [*ahead, calls]} if ahead else calls)


def _tagged(format: dict[str, Any]) -> dict[str, Any]:
    return {"type": "structural_tag", "format": format}


# -------------------------------------------------------------------- tools


def _functions(tools: Any) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise InvalidError("tools are a list of definitions", pointer="")
    for number, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
            raise InvalidError(
                "a tool is an object with a name",
                pointer=f"/{number}",
                hint='write {"type": "function", "function": {"name": ..., "parameters": ...}}',
            )
        if name in found:
            raise InvalidError(f"two tools are called {name!r}", pointer=f"/{number}", hint="give each its own name")
        found[name] = function
    return found


def _chosen(
    functions: dict[str, Mapping[str, Any]], choice: str | Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], str]:
    """The tools that may be called, and "auto" or "required"."""
    if isinstance(choice, Mapping):
        named = choice.get("function", choice)
        name = named.get("name") if isinstance(named, Mapping) else None
        if name not in functions:
            known = ", ".join(functions) or "none"
            raise InvalidError(f"tool_choice names {name!r}, which is no tool", hint=f"the tools are {known}")
        return [functions[name]], "required"
    if choice not in ("auto", "none", "required"):
        raise InvalidError(
            f"tool_choice={choice!r}",
            hint='choose "auto", "none", "required" or {"type": "function", "function": {"name": ...}}',
        )
    if choice == "required" and not functions:
        raise InvalidError("a call is required, and there are no tools", hint='give tools, or tool_choice="auto"')
    return [] if choice == "none" else list(functions.values()), "required" if choice == "required" else "auto"


def _tags(function: Mapping[str, Any], table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A call of a tool, in each way to write it."""
    schema = function.get("parameters")
    if schema is None or function.get("strict") is False:
        schema = dict(_ANY_ARGUMENTS)
    content = {"type": "json_schema", "json_schema": schema}
    if "arguments" in table:
        content["style"] = table["arguments"]
    return [
        {"begin": begin.replace("{name}", function["name"]), "content": content, "end": table["end"]}
        for begin in _several(table["begin"])
    ]


def _several(written: str | list[str]) -> list[str]:
    return [written] if isinstance(written, str) else written


# -------------------------------------------------------------------- answers


def _calls(table: Mapping[str, Any], tags: list[dict[str, Any]], choice: str, several: bool) -> dict[str, Any]:
    """Text with calls in it, or calls alone."""
    excludes = table.get("excludes", [])
    if not tags:
        return {"type": "any_text", "excludes": excludes}
    calls = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": table.get("separator", ""),
        "at_least_one": True,
        "stop_after_first": not several,
    }
    section = table.get("section")
    if section is not None:
        tags = [{"type": "tag", "begin": begin, "content": calls, "end": section["end"]} for begin in section["begin"]]
    if choice == "required":
        return calls if section is None else {"type": "or", "elements": tags}
    return {
        "type": "triggered_tags",
        "triggers": [table["trigger"]],
        "tags": tags,
        "excludes": excludes,
        "stop_after_first": not several or section is not None,
    }


def _ahead(table: Mapping[str, Any], name: str, reasoning: Reasoning) -> list[dict[str, Any]]:
    """Reasoning ahead of an answer."""
    if reasoning == "none":
        return []
    marks = table.get("reasoning")
    if marks is None:
        raise UnsupportedError(f"the format {name!r} has no reasoning", hint='leave out reasoning=, or pass "none"')
    found: dict[str, Any] = {
        "type": "tag",
        "begin": "" if reasoning == "begun" else marks["begin"],
        "content": {"type": "any_text"},
        "end": marks["end"],
    }
    elements = [found, *([{"type": "const_string", "value": marks["after"]}] if marks["after"] else [])]
    if reasoning == "optional":
        return [{"type": "optional", "content": {"type": "sequence", "elements": elements}}]
    return elements


def _messages(
    table: Mapping[str, Any], calls: list[dict[str, Any]], choice: str, reasoning: Reasoning
) -> dict[str, Any]:
    """A sequence of messages that ends with a call or an answer."""
    messages = {
        kind: {"type": "tag", "begin": marks["begin"], "content": {"type": "any_text"}, "end": marks["end"]}
        for kind, marks in table["messages"].items()
    }
    ahead = [tag for kind, tag in messages.items() if kind == "preamble" or kind == "reasoning" and reasoning != "none"]
    last = calls if choice == "required" else [*calls, messages["answer"]]
    separator = {"type": "const_string", "value": table["separator"]}
    some = {"type": "sequence", "elements": [{"type": "or", "elements": ahead}, separator]}
    one = {"type": "tags_with_separator", "tags": last, "separator": "", "at_least_one": True, "stop_after_first": True}
    return {"type": "sequence", "elements": [{"type": "star", "content": some}, one]}
