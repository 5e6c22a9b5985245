"""What a structural tag may look like: the JSON that OpenAI-style servers and XGrammar 0.2.8 take, as pydantic models.

    read_structural_tag({"type": "structural_tag", "format": {"type": "tag", "begin": "<a>", ...}})
    read_structural_tag({"type": "structural_tag", "structures": [...], "triggers": [...]})      the older description

A field's name and default are XGrammar's. A field that is not in the table is an error, not ignored. What the formats
mean: grammars/structural_tags.py, docs/tools.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from maskwright.grammars.errors import GrammarError, InvalidError, LimitExceeded
from maskwright.grammars.plain_tags import Glances, PlainJson, PlainTag
from maskwright.grammars.python_types import schema_from

__all__ = [
    "AnyTag",
    "AnyText",
    "AnyTokens",
    "ConstString",
    "Content",
    "Dispatch",
    "EbnfGrammar",
    "ExcludeToken",
    "Format",
    "JsonSchema",
    "Optional",
    "Or",
    "Plus",
    "QwenXmlParameter",
    "ReadTag",
    "RegexPattern",
    "Repeat",
    "SequenceOf",
    "Star",
    "TagFormat",
    "TagsWithSeparator",
    "Token",
    "TokenDispatch",
    "TokenName",
    "TokenTriggeredTags",
    "TriggeredTags",
    "read_structural_tag",
]

TokenName = int | str
Text = Annotated[str, Field(min_length=1)]
Limit = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ConstString(_Model):
    type: Literal["const_string"]
    value: str


class JsonSchema(_Model):
    type: Literal["json_schema"]
    json_schema: bool | dict[str, Any]
    style: Literal[
        "json",
        "qwen_xml",
        "minimax_xml",
        "minimax_m3_xml",
        "deepseek_xml",
        "glm_xml",
        "cohere_xml",
        "kimi_k3_xml",
        "deepseek_v4_1_xml",
    ] = "json"
    any_order: bool = False
    max_whitespace_cnt: Limit | None = None
    excludes: list[Text] = Field(default_factory=list)


class QwenXmlParameter(_Model):
    type: Literal["qwen_xml_parameter"]
    json_schema: bool | dict[str, Any]


class AnyText(_Model):
    type: Literal["any_text"]
    excludes: list[str] = Field(default_factory=list)
    max_tokens: Limit | None = None
    max_chars: Limit | None = None


class Token(_Model):
    type: Literal["token"] = "token"
    token: TokenName


class ExcludeToken(_Model):
    type: Literal["exclude_token"]
    exclude_tokens: list[TokenName] = Field(default_factory=list)


class AnyTokens(_Model):
    type: Literal["any_tokens"]
    exclude_tokens: list[TokenName] = Field(default_factory=list)
    max_tokens: Limit | None = None


class EbnfGrammar(_Model):
    type: Literal["grammar"]
    grammar: str


class RegexPattern(_Model):
    type: Literal["regex"]
    pattern: str


class SequenceOf(_Model):
    type: Literal["sequence"]
    elements: Annotated[list[Format], Field(min_length=1)]


class Or(_Model):
    type: Literal["or"]
    elements: Annotated[list[Format], Field(min_length=1)]


def _kind(written: Any) -> str:
    if type(written) is str:  # nearly always: this is asked of every tag
        return "text"
    return "token" if isinstance(written, dict | Token) else "list" if isinstance(written, list) else "text"


Begin = Annotated[Annotated[str, Tag("text")] | Annotated[Token, Tag("token")], Discriminator(_kind)]
End = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(min_length=1), Tag("list")]
    | Annotated[Token, Tag("token")],
    Discriminator(_kind),
]


def _read_content(content: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo[Glances]) -> Any:
    return info.context.content(content) or read(content)


def _read_tag(tag: Any, read: ValidatorFunctionWrapHandler) -> Any:
    return tag if type(tag) is PlainTag else read(tag)


def _glance_at_tags(tags: Any, info: ValidationInfo[Glances]) -> Any:
    return info.context.tags(tags)


# What there may be many of is seen at a glance where it is plain, and is no model then.
if TYPE_CHECKING:
    Content: TypeAlias = "Format | PlainJson"
    AnyTag: TypeAlias = "TagFormat | PlainTag"
else:
    Content = Annotated["Format", WrapValidator(_read_content)]
    AnyTag = Annotated["TagFormat", WrapValidator(_read_tag)]


class TagFormat(_Model):
    type: Literal["tag"] = "tag"
    begin: Begin
    content: Content
    end: End


Tags = Annotated[list[AnyTag], Field(min_length=1), BeforeValidator(_glance_at_tags)]


class TriggeredTags(_Model):
    type: Literal["triggered_tags"]
    triggers: Annotated[list[Text], Field(min_length=1)]
    tags: Tags
    at_least_one: bool = False
    stop_after_first: bool = False
    excludes: list[str] = Field(default_factory=list)


class TokenTriggeredTags(_Model):
    type: Literal["token_triggered_tags"]
    trigger_tokens: Annotated[list[TokenName], Field(min_length=1)]
    tags: Tags
    exclude_tokens: list[TokenName] = Field(default_factory=list)
    at_least_one: bool = False
    stop_after_first: bool = False


class TagsWithSeparator(_Model):
    type: Literal["tags_with_separator"]
    tags: Tags
    separator: str
    at_least_one: bool = False
    stop_after_first: bool = False


class Optional(_Model):
    type: Literal["optional"]
    content: Format


class Plus(_Model):
    type: Literal["plus"]
    content: Format


class Star(_Model):
    type: Literal["star"]
    content: Format


class Repeat(_Model):
    type: Literal["repeat"]
    min: Limit
    max: Annotated[int, Field(ge=-1, le=2**31 - 1)]
    content: Format


class Dispatch(_Model):
    type: Literal["dispatch"]
    rules: Annotated[list[Annotated[tuple[Text, Content], Strict(False)]], Field(min_length=1)]
    loop: bool = True
    excludes: list[str] = Field(default_factory=list)


class TokenDispatch(_Model):
    type: Literal["token_dispatch"]
    rules: Annotated[list[Annotated[tuple[TokenName, Content], Strict(False)]], Field(min_length=1)]
    loop: bool = True
    exclude_tokens: list[TokenName] = Field(default_factory=list)


Format = Annotated[
    AnyText
    | AnyTokens
    | ConstString
    | Dispatch
    | EbnfGrammar
    | ExcludeToken
    | JsonSchema
    | Optional
    | Or
    | Plus
    | QwenXmlParameter
    | RegexPattern
    | Repeat
    | SequenceOf
    | Star
    | TagFormat
    | TagsWithSeparator
    | Token
    | TokenDispatch
    | TokenTriggeredTags
    | TriggeredTags,
    Field(discriminator="type"),
]


class _StructuralTag(_Model):
    type: Literal["structural_tag"] = "structural_tag"
    format: Format


class _Structure(_Model):
    begin: Text
    schema_: Annotated[Any, Field(alias="schema")]
    end: str


class _Structures(_Model):
    """The older description: free text with tags of JSON."""

    type: Literal["structural_tag"] = "structural_tag"
    structures: Annotated[list[_Structure], Field(min_length=1)]
    triggers: Annotated[list[Text], Field(min_length=1)]

    def as_format(self, glances: Glances) -> TriggeredTags:
        tags = []
        for number, structure in enumerate(self.structures):
            try:
                schema, _ = schema_from(structure.schema_, narrow=True)
            except GrammarError as error:
                error.pointer = f"/structures/{number}/schema{error.pointer or ''}"
                raise
            content = {"type": "json_schema", "json_schema": schema}
            tags.append({"begin": structure.begin, "content": content, "end": structure.end})
        described = {"type": "triggered_tags", "triggers": self.triggers, "tags": tags}
        return TriggeredTags.model_validate(described, context=glances)


_RECURSIVE: tuple[type[BaseModel], ...] = (
    SequenceOf,
    Or,
    TagFormat,
    Optional,
    Plus,
    Star,
    Repeat,
    Dispatch,
    TokenDispatch,
    TriggeredTags,
    TokenTriggeredTags,
    TagsWithSeparator,
    _StructuralTag,
)
for _model in _RECURSIVE:
    _model.model_rebuild()


class ReadTag(NamedTuple):
    """A structural tag as it was read.

    Attributes:
        format: what it describes.
        older: whether the description is an older one, which lists `structures`.
        glances: what was plain in it: the schemas of PlainJson, a copy.
        lazy: whether these may wait; else they are the caller's own.
    """

    format: Format
    older: bool
    glances: Glances
    lazy: bool


def read_structural_tag(description: Any) -> ReadTag:
    """The format that a description gives.

    Args:
        description: a dict or its JSON text.

    Raises:
        InvalidError: it is none; with the pointer of the first thing that is wrong.
    """
    contents, glances = _contents(description), Glances()
    older = "structures" in contents
    try:
        found = (_Structures if older else _StructuralTag).model_validate(contents, context=glances)
    except ValidationError as error:
        raise _refused(contents, error) from error
    except RecursionError as error:
        raise LimitExceeded("nesting", 200, 200, what="structural tag", pointer="") from error
    format = found.as_format(glances) if isinstance(found, _Structures) else found.format
    return ReadTag(format, older, glances, glances.copy())


def _contents(description: Any) -> dict[str, Any]:
    if isinstance(description, str):
        try:
            description = json.loads(description)
        except json.JSONDecodeError as error:
            invalid = InvalidError(f"not JSON: {error.msg}", position=error.pos)
            raise invalid.within(description) from error
        except RecursionError as error:
            raise LimitExceeded("nesting", 1000, 1000, what="structural tag", pointer="") from error
    if not isinstance(description, dict):
        raise InvalidError(f"a structural tag is an object, not {type(description).__name__}", pointer="")
    return description


_ADVICE = {
    "extra_forbidden": "remove it, or correct its name",
    "missing": "add it",
    "recursion_loop": "nest the formats less deeply",
    "union_tag_not_found": 'say which format it is: "type": ...',
}


def _refused(contents: dict[str, Any], error: ValidationError) -> InvalidError:
    found = error.errors(include_url=False)
    pointer, name = _pointer(contents, found[0]["loc"])
    kind, hint = found[0]["type"], _ADVICE.get(found[0]["type"], "")
    if kind == "extra_forbidden":
        reason = f"unknown field {name!r}"
    elif kind == "missing":
        reason = f"the field {name!r} is missing"
    elif kind == "union_tag_invalid":
        context = found[0]["ctx"]
        reason, known = f"there is no format {context['tag']!r}", str(context["expected_tags"])
        near = get_close_matches(context["tag"], [one.strip("'") for one in known.split(", ")], 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {known}"
    else:  # of a union, every branch complains
        reasons = dict.fromkeys(one["msg"] for one in found if _pointer(contents, one["loc"])[0] == pointer)
        reason = " or ".join(one.removeprefix("Input ") for one in reasons)
    return InvalidError(reason, pointer=pointer, hint=hint)


def _pointer(contents: Any, location: Sequence[int | str]) -> tuple[str, str]:
    """The JSON Pointer of a pydantic location, which also names the branches of unions, and the last field's name."""
    pointer, name = "", ""
    entered = False  # this very object through the branch that its type names
    for step in location:
        if isinstance(contents, dict) and step == contents.get("type") and not entered:
            entered = True
        elif isinstance(contents, dict) and step in contents:
            contents, name, entered = contents[step], str(step), False
            pointer += "/" + name.replace("~", "~0").replace("/", "~1")
        elif isinstance(contents, list | tuple) and isinstance(step, int):
            contents, name, entered = contents[step] if step < len(contents) else None, str(step), False
            pointer += "/" + name
        elif step == location[-1] and isinstance(contents, dict):
            name = str(step)  # a field that is missing: the pointer is that of the object
    return pointer, name
