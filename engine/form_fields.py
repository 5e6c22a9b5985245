"""The fields by which clients of HTTP servers ask for the form of an answer: OpenAI's `response_format`, and those of vLLM
and SGLang. What is not understood is refused with its JSON Pointer, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from maskwright.forms import Form, form_of
from maskwright.grammars.errors import InvalidError

__all__ = ["FormFields", "read_body", "response_form"]

_T = TypeVar("_T", bound=BaseModel)
_FORM_FIELDS = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json_schema",
    "regex": "regex",
    "ebnf": "ebnf",
    "grammar": "grammar",
    "choices": "choices",
    "structural_tag": "structural_tag",
}


class FormFields(BaseModel):
    """The part of a body that is about the form of the answer."""

    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: dict[str, Any] | bool | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    json_schema: dict[str, Any] | bool | str | None = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | None = None
    choices: list[str] | None = None
    structural_tag: dict[str, Any] | str | None = None

    def form(self) -> Form | None:
        """The form that the answer is to have; None: any text.

        Raises:
            InvalidError: several forms, or one that is not well formed.
            UnsupportedError: a field that nothing here enforces.
        """
        found = []
        if self.response_format is not None and (form := response_form(self.response_format)) is not None:
            found.append(form)
        if self.structured_outputs is not None:
            found.append(form_of(self.structured_outputs, "/structured_outputs"))
        for name, kind in _FORM_FIELDS.items():
            if (source := getattr(self, name)) is not None:
                form = form_of({kind: source if source is not False else "false"})
                found.append(Form(form.kind, form.source, form.policy, f"/{name}"))
        if len(found) > 1:
            places = " and ".join(form.place for form in found)
            raise InvalidError(f"an answer has one form, and {places} ask for several", pointer=found[1].place)
        return found[0] if found else None


def response_form(given: Mapping[str, Any]) -> Form | None:
    """The form that OpenAI's `response_format` asks for; None: any text.

    Raises:
        InvalidError: there is no such format, or it lacks what it needs.
    """
    kind, place = given.get("type"), "/response_format"
    if kind == "text":
        return None
    if kind == "json_object":
        if "schema" in given:  # as llama.cpp's servers have it
            return Form("json_schema", given["schema"], place=f"{place}/schema")
        return Form("json_schema", {"type": "object"}, place=place)
    if kind == "json_schema":
        inner = given.get("json_schema")
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise InvalidError(
                'a "json_schema" with its "schema" is missing', pointer=f"{place}/json_schema",
                hint='write {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}',
            )  # fmt: skip
        return Form("json_schema", inner["schema"], place=f"{place}/json_schema/schema")
    if kind == "structural_tag":
        return Form("structural_tag", dict(given), place=place)
    for kind, name in (("regex", "pattern"), ("grammar", "grammar")):
        if given.get("type") == kind:
            form = form_of({kind: given.get(name)}, place)
            return Form(form.kind, form.source, form.policy, f"{place}/{name}")
    raise InvalidError(
        f"there is no response format {given.get('type')!r}", pointer=f"{place}/type",
        hint='choose "text", "json_object", "json_schema", "structural_tag", "regex" or "grammar"',
    )  # fmt: skip


def read_body(kind: type[_T], body: Any) -> _T:
    """A body as pydantic reads it.

    Raises:
        InvalidError: with the JSON Pointer of the first place that is wrong.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        unknown = first["type"] == "extra_forbidden"
        reason = "this server knows no such field" if unknown else first["msg"]
        raise InvalidError(
            reason, pointer=pointer_to(first["loc"], body), hint="leave it out" if unknown else ""
        ) from error


def pointer_to(place: tuple[int | str, ...], body: Any) -> str:
    """The JSON Pointer of pydantic's place, without the names that it gives to members of unions."""
    found: Any = body
    pointer = ""
    for part in place:
        if _has(found, part):
            found = found[part]
        elif isinstance(found, dict) and part == place[-1]:
            found = None  # a field that is missing
        else:
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _has(container: Any, part: int | str) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container
