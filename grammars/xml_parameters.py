"""Arguments of a function as tags, one a parameter, instead of one JSON object: what some models are trained to write.

    <parameter=city>
    Paris
    </parameter>
    <parameter=days>3</parameter>

Strings stand there as they are, other values as JSON. White space may surround a value and come between the tags; around a
string of any text it is part of the string. Parameters come in the order of `properties`. What else `required` and
`additionalProperties` say holds; other keywords of the object itself are refused, since nothing here counts parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from maskwright.grammars import regular
from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import InvalidError, UnsatisfiableError, UnsupportedError
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.rule_nodes import EMPTY_TEXT, choice, loop, sequence
from maskwright.grammars.rules import Json, Node, Text

__all__ = ["STYLES", "XmlStyle", "xml_parameters"]


@dataclass(frozen=True, slots=True)
class XmlStyle:
    """How a parameter is written: `begin` name `behind` value `end`.

    Attributes:
        behind: texts between which white space may stand.
    """

    begin: str
    behind: tuple[str, ...]
    end: str


STYLES: Mapping[str, XmlStyle] = MappingProxyType(
    {
        "qwen_xml": XmlStyle("<parameter=", (">",), "</parameter>"),
        "minimax_xml": XmlStyle('<parameter name="', ('">',), "</parameter>"),
        "glm_xml": XmlStyle("<arg_key>", ("</arg_key>", "<arg_value>"), "</arg_value>"),
    }
)
_ANNOTATIONS = {"$schema", "$comment", "title", "description", "default", "examples", "deprecated"}
_DEFINITIONS = ("$schema", "$defs", "definitions")
_LETTERS = CharSet([(0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
_SPACE = CharSet.of(" \n\r\t")
# Names of parameters that the schema does not name.
_NAME = regular.concat(
    regular.chars(_LETTERS), regular.repeat(regular.chars(_LETTERS | CharSet([(0x2D, 0x2E), (0x30, 0x39)])), 0)
)


def xml_parameters(schema: Any, options: SchemaOptions, style: XmlStyle, place: str) -> Node:
    """The parameters of an object that satisfies a schema.

    Args:
        schema: a dict, or true for any parameters.
        place: its JSON Pointer.

    Raises:
        InvalidError, UnsupportedError, UnsatisfiableError: with the pointer of the keyword. Those of the parameters' own
            schemas are found when they are loaded.
    """
    if options.property_order != "schema":
        raise UnsupportedError(
            "parameters as tags come in the order of the schema",
            pointer=place,
            hint='leave out any_order and property_order="any"',
        )
    contents: dict[str, Any] = {} if schema is True else schema
    if not isinstance(contents, dict):
        raise UnsatisfiableError("no parameters satisfy the schema false", pointer=place)
    properties, required, additional = _keywords(contents, place)
    shared = {name: contents[name] for name in _DEFINITIONS if name in contents}
    space = Text(regular.repeat(regular.chars(_SPACE), 0, options.max_whitespace))

    def parameter(name: regular.Regex, value: Any, where: str) -> Node:
        whole = {**shared, **value} if isinstance(value, dict) else value
        behind = [node for text in style.behind for node in (Text(regular.literal(text)), space)]
        return sequence(
            [
                space,
                Text(regular.concat(regular.literal(style.begin), name)),
                *behind,
                Json(whole, options, where, style.end),
                space,
                Text(regular.literal(style.end)),
            ]
        )

    parts: list[Node] = []
    for name, value in properties.items():
        node = parameter(regular.literal(name), value, f"{place}/properties/{name}")
        parts.append(node if name in required else choice([EMPTY_TEXT, node]))
    if additional is not False:
        others = regular.intersect(_NAME, regular.complement(regular.words(properties)))
        parts.append(loop(parameter(others, additional, place + "/additionalProperties"), 0, None))
    return sequence([*parts, space])


def _keywords(schema: dict[str, Any], place: str) -> tuple[dict[str, Any], list[str], Any]:
    """Properties with all that are required among them, required names, and the schema of other parameters."""
    for keyword in schema:
        if keyword not in ("type", "properties", "required", "additionalProperties", *_DEFINITIONS, *_ANNOTATIONS):
            raise UnsupportedError(
                f"{keyword!r} cannot be enforced over parameters that are written as tags",
                keyword=keyword,
                pointer=f"{place}/{keyword}",
                hint="use type, properties, required and additionalProperties",
            )
    if schema.get("type", "object") != "object":
        raise InvalidError("parameters are an object", pointer=place + "/type", hint='write "type": "object"')
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not all(isinstance(name, str) for name in properties):
        raise InvalidError("properties are an object", pointer=place + "/properties")
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise InvalidError("required is a list of names", pointer=place + "/required")
    additional = schema.get("additionalProperties", True)
    for name in required:
        if name not in properties and additional is False:
            raise UnsatisfiableError(
                f"{name!r} is required, and additionalProperties forbids it", pointer=place + "/required"
            )
    return {**properties, **{name: additional for name in required if name not in properties}}, required, additional
