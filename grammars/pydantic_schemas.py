"""JSON Schemas of Python types: as pydantic gives them, and narrowed to the texts that pydantic reads.

    json_schema(TypeAdapter(int))                  {"type": "integer"}
    json_schema(TypeAdapter(UUID4), narrow=True)   {"type": "string", "format": "uuid", "pattern": "^.{14}4.{4}[89ABab]"}

Both have objects closed. pydantic's own schemas admit more texts than pydantic reads, for JSON Schema has no word for many
types, or another notion of them; a model held to such a schema would write what is refused afterwards. So each gets here
a language that pydantic reads as a whole, as large as is practical:

| type                                | beside what pydantic's schema says                                           |
|-------------------------------------|------------------------------------------------------------------------------|
| int                                 | no fraction and no exponent (`1.0`, `1e+22`)                                 |
| Decimal                             | max_digits and decimal_places; as a string only where it has no constraints  |
| date, datetime, time                | no year 0 and no leap seconds; naive where the type asks for it              |
| timedelta                           | at most 6 digits a unit                                                      |
| UUID1 to UUID8                      | the version                                                                  |
| bytes, Base64Bytes, Base64Str, ...  | the encoding; Base64Str and Base64UrlStr hold ASCII                          |
| networks and interfaces of IP       | prefix lengths, and no bits beyond them (of IPv6: networks that end in `::`) |
| EmailStr, NameEmail                 | ASCII, no quotes, a domain with a dot that mail can go to; the name plain    |
| URLs                                | `scheme://host:port/path?query#fragment` with an allowed scheme              |
| dict                                | keys that read as the type of keys, and no others                            |
| str with strip_whitespace           | nothing to strip where a length or pattern is asked for                      |

Json[...] and fields that are read from a path of keys (AliasPath alone) are refused. What only a function in Python knows
(validators, bounds of dates) is in no schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from maskwright.grammars.errors import UnsupportedError

__all__ = ["json_schema"]

Described = dict[str, Any]

# There 1.0 is no integer.
_DRAFT4 = "http://json-schema.org/draft-04/schema#"

_YEAR = "(?!0000)[0-9]{4}"
_LEAP_YEAR = "(?!0000)(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"

_NAIVE_TIME = {"type": "string", "pattern": f"^{_CLOCK}$"}
_NAIVE_DATETIME = {"type": "string", "pattern": f"^(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)T{_CLOCK}$"}
_NO_LEAP_SECOND = "^(?!.*:60)"

# A last group of two or three characters leaves no bits over.
_BASE64 = "^(?:{any}{{4}})*(?:{any}[AQgw]==|{any}{{2}}[AEIMQUYcgkosw048]=)?$"
_PORT = "(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
_NAME = "[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_HOST = rf"(?:(?:{_NAME}\.)*[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*)"
_PATH_CHARACTER = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_AFTER_HOST = rf"(?:/{_PATH_CHARACTER}*)*(?:\?(?:{_PATH_CHARACTER}|[/?])*)?(?:#(?:{_PATH_CHARACTER}|[/?])*)?"

_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# Of a domain that mail can go to: at most 63 characters without `--` (as in `xn--`), and at last no name of RFC 6761.
_LABEL = "[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20}){0,2}"
_SET_APART = (
    "[Aa][Rr][Pp][Aa]|[Ii][Nn][Vv][Aa][Ll][Ii][Dd]|[Ll][Oo][Cc][Aa][Ll](?:[Hh][Oo][Ss][Tt])?"
    "|[Oo][Nn][Ii][Oo][Nn]|[Tt][Ee][Ss][Tt]"
)
_MAIL = rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?!(?:{_SET_APART})>?$)[A-Za-z]{{1,20}}"

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

_INTEGER = "-?(?:0|[1-9][0-9]{0,17})"
_FRACTION = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?"
_KEYS: Mapping[str, str] = MappingProxyType(
    {"integer": f"^{_INTEGER}$", "number": f"^{_FRACTION}$", "boolean": "^(?:true|false)$"}
)


def json_schema(adapter: TypeAdapter[Any], narrow: bool = False) -> Described:
    """The schema of what pydantic reads into a type, with its objects closed.

    Args:
        narrow: as the module says; else as pydantic has it, which is easier to read.

    Raises:
        UnsupportedError: a type whose texts no schema describes.
        pydantic.errors.PydanticInvalidForJsonSchema, PydanticUserError: see pydantic.
    """
    # What pydantic reads, not what it writes: the text is to be validated into the type.
    return adapter.json_schema(mode="validation", schema_generator=_Narrowed if narrow else _Closed)


class _Closed(GenerateJsonSchema):
    """Adds `additionalProperties: false` where the configuration leaves it open whether there are others."""

    def model_schema(self, schema: Any) -> Described:
        described = super().model_schema(schema)
        return described if schema.get("root_model") else _closed(described)

    def dataclass_schema(self, schema: Any) -> Described:
        return _closed(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: Any) -> Described:
        return _closed(super().typed_dict_schema(schema))


def _closed(described: Described) -> Described:
    return {"additionalProperties": False, **described} if described.get("type") == "object" else described


class _Narrowed(_Closed):
    """See the module. The methods are pydantic's, one for each kind of its core schemas."""

    def generate_inner(self, schema: Any) -> Described:
        described = super().generate_inner(schema)
        replacement = _FORMATS.get(described.get("format", ""))
        if replacement is not None:
            described = {key: value for key, value in described.items() if key != "format"} | replacement(described)
        return described

    def int_schema(self, schema: Any) -> Described:
        least = [schema[key] + step for key, step in (("ge", 0), ("gt", 1)) if schema.get(key) is not None]
        most = [schema[key] - step for key, step in (("le", 0), ("lt", 1)) if schema.get(key) is not None]
        bounds = {"minimum": max(least)} if least else {}
        bounds |= {"maximum": min(most)} if most else {}
        bounds |= {"multipleOf": schema["multiple_of"]} if schema.get("multiple_of") is not None else {}
        return {"$schema": _DRAFT4, "type": "integer", **bounds}

    def decimal_schema(self, schema: Any) -> Described:
        names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
        names["multiple_of"] = "multipleOf"
        found = {name: _json_number(schema[key]) for key, name in names.items() if schema.get(key) is not None}
        digits, places = schema.get("max_digits"), schema.get("decimal_places")
        number: Described = {"type": "number", **found}
        if digits is None and places is None:
            return number if found else {"anyOf": [number, {"type": "string", "pattern": f"^{_FRACTION}$"}]}
        if digits is None:
            return number | {"allOf": [_decimals(None, places)]}
        counts = [*range(digits + 1)] if places is None else [places]  # of decimals
        return number | {"anyOf": [_decimals(digits - count, count) for count in counts]}

    def fraction_schema(self, schema: Any) -> Described:
        described = super().fraction_schema(schema)
        bounded = any(schema.get(key) is not None for key in ("ge", "gt", "le", "lt"))
        number: Described = described["anyOf"][0]
        return (
            number
            if bounded
            else {"anyOf": [number, {"type": "string", "pattern": f"^{_INTEGER}(?:/[1-9][0-9]{{0,8}})?$"}]}
        )

    def complex_schema(self, schema: Any) -> Described:
        plain = _FRACTION.removeprefix("-?")
        return {"type": "string", "pattern": f"^{_FRACTION}(?:[+-]{plain}j)?$"}

    def str_schema(self, schema: Any) -> Described:
        described = super().str_schema(schema)
        stripped = schema.get("strip_whitespace", self._config.str_strip_whitespace)
        if stripped and {"pattern", "minLength", "maxLength"} & {*described}:
            described["allOf"] = [{"pattern": r"^(?:[^\s\x85](?:[\s\S]*[^\s\x85])?)?$"}]
        return described

    def bytes_schema(self, schema: Any) -> Described:
        described = super().bytes_schema(schema) | {"contentMediaType": "application/octet-stream"}
        encoding = self._config.val_json_bytes
        if encoding == "utf8":
            described["format"] = "binary"
            # Lengths are of bytes: the same as of characters, where these are ASCII.
            counted = {"minLength", "maxLength"} & {*described}
            return described | ({"pattern": r"^[\x00-\x7F]*$"} if counted else {})
        if {"minLength", "maxLength"} & {*described}:
            raise UnsupportedError(
                f"the length of bytes that are written in {encoding} cannot be enforced", keyword="format"
            )
        if encoding == "hex":
            return described | {"format": "binary", "pattern": "^(?:[0-9A-Fa-f]{2})*$"}
        return described | {"format": "base64url"}

    def date_schema(self, schema: Any) -> Described:
        return super().date_schema(schema) | {"pattern": "^(?!0000)"}

    def time_schema(self, schema: Any) -> Described:
        naive = schema.get("tz_constraint") == "naive"
        return dict(_NAIVE_TIME) if naive else super().time_schema(schema) | {"pattern": _NO_LEAP_SECOND}

    def datetime_schema(self, schema: Any) -> Described:
        naive = schema.get("tz_constraint") == "naive"
        described = super().datetime_schema(schema) | {"pattern": f"{_NO_LEAP_SECOND}(?!0000)"}
        return dict(_NAIVE_DATETIME) if naive else described

    def timedelta_schema(self, schema: Any) -> Described:
        return super().timedelta_schema(schema) | {"format": "duration", "type": "string", "pattern": "^(?!.*[0-9]{7})"}

    def url_schema(self, schema: Any) -> Described:
        described = super().url_schema(schema)
        schemes = schema.get("allowed_schemes") or ["(?!file:)[a-z][a-z0-9+.-]*"]
        others = "|".join(scheme for scheme in schemes if scheme != "file")
        texts = [f"(?:{others})://{_HOST}{_PORT}"] if others else []
        texts += ["file://(?=/)"] if "file" in schemes else []
        return {key: value for key, value in described.items() if key != "format"} | {
            "pattern": f"^(?:{'|'.join(texts)}){_AFTER_HOST}$"
        }

    def multi_host_url_schema(self, schema: Any) -> Described:
        return self.url_schema(schema)

    def json_schema(self, schema: Any) -> Described:
        hint = "give the field the type itself, or str"
        raise UnsupportedError("JSON inside of a string cannot be enforced (Json)", keyword="contentSchema", hint=hint)

    def _common_dict_schema(self, schema: Any) -> Described:
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        values = self.generate_inner(schema["values_schema"]) if "values_schema" in schema else {}
        described: Described = {"type": "object", "additionalProperties": values}
        names = _names(keys, schema.get("keys_schema", {}))
        described |= {"propertyNames": names} if names not in ({}, {"type": "string"}) else {}
        self.update_with_validations(described, schema, self.ValidationsMapping.object)
        return described

    def dict_schema(self, schema: Any) -> Described:
        return self._common_dict_schema(schema)

    def model_field_schema(self, schema: Any) -> Described:
        return super().model_field_schema(_with_name(schema))

    def dataclass_field_schema(self, schema: Any) -> Described:
        return super().dataclass_field_schema(_with_name(schema))

    def typed_dict_field_schema(self, schema: Any) -> Described:
        return super().typed_dict_field_schema(_with_name(schema))


def _with_name(field: Any) -> Any:
    """A field that is read from a key of its own."""
    alias = field.get("validation_alias")
    if isinstance(alias, list) and not any(isinstance(path, list) and len(path) == 1 for path in alias):
        hint = "add a plain name with AliasChoices"
        raise UnsupportedError(
            f"a field that is read from a path {alias} cannot be enforced", keyword="properties", hint=hint
        )
    return field


def _json_number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def _decimals(whole: int | None, places: int) -> Described:
    """Numbers of at most so many digits before the point and behind it."""
    found: Described = {"multipleOf": _json_number(Decimal(1).scaleb(-places))}
    return found if whole is None else found | {"exclusiveMinimum": -(10**whole), "exclusiveMaximum": 10**whole}


def _names(keys: Described, core: Any) -> Described:
    """What keys must look like to be read as values of a schema."""
    if "expected" in core:
        return {"enum": [member for member in core["expected"] if isinstance(member, str)]}
    if "members" in core:
        return {"enum": [str(member.value) for member in core["members"]]}
    if keys.get("type") in _KEYS:
        if {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"} & {*keys}:
            hint = "leave the bounds to a validator, or make the keys strings"
            raise UnsupportedError(
                "bounds of numbers that are keys cannot be enforced", keyword="propertyNames", hint=hint
            )
        return {"pattern": _KEYS[keys["type"]]}
    return {key: value for key, value in keys.items() if key != "title"}


# pydantic's own formats, by name.


def _base64(any_character: str, described: Described) -> Described:
    if described.get("contentMediaType") is None:  # of text
        return {"pattern": _ascii_in_base64(any_character)}
    return {"pattern": _BASE64.format(any=any_character)}


def _uuid(version: int) -> Callable[[Described], Described]:
    return lambda _: {"format": "uuid", "pattern": f"^.{{14}}{version}.{{4}}[89ABab]"}


def _ascii_in_base64(any_character: str) -> str:
    """Base64 of ASCII texts: each byte begins with a bit of 0."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + (
        "-_" if "_" in any_character else "+/"
    )

    def where(mask: int) -> str:
        """The characters whose six bits have none of `mask`."""
        return "[" + "".join(c.replace("-", r"\-") for n, c in enumerate(alphabet) if not n & mask) + "]"

    first, second, third = where(0b100000), where(0b001000), where(0b000010)
    ends = f"{first}{where(0b001111)}==|{first}{second}{where(0b000011)}="
    return f"^(?:{first}{second}{third}{any_character})*(?:{ends})?$"


def _ipv4_networks() -> str:
    """Addresses with a prefix length, whose other bits are 0."""
    found = []
    for length in range(33):
        whole, bits = divmod(length, 8)
        parts = [_OCTET] * whole
        if whole < 4:
            parts.append("(?:" + "|".join(str(n) for n in range(0, 256, 1 << 8 - bits)) + ")")
            parts += ["0"] * (3 - whole)
        found.append(r"\.".join(parts) + f"/{length}")
    return "|".join([*found, r"\.".join([_OCTET] * 4)])


def _ipv6_networks() -> str:
    """Whole groups of 16 bits and `::`, with a prefix length that covers the groups."""
    found = ["::/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])"]
    for groups in range(1, 8):
        lengths = "|".join(str(length) for length in range(16 * groups, 129))
        found.append(f"(?:[0-9A-Fa-f]{{1,4}}:){{{groups}}}:/(?:{lengths})")
    return "|".join(found)


_IPV4_NETWORK: Described = {"pattern": f"^(?:{_ipv4_networks()})$"}
_IPV6_NETWORK: Described = {"anyOf": [{"format": "ipv6"}, {"pattern": f"^(?:{_ipv6_networks()})$"}]}
_IPV4_INTERFACE: Described = {"pattern": rf"^(?:{_OCTET}\.){{3}}{_OCTET}(?:/(?:3[0-2]|[12]?[0-9]))?$"}


def _mail(pattern: str) -> Described:
    return {"allOf": [{"pattern": f"^{pattern}$", "maxLength": 254}]}


_FORMATS: Mapping[str, Callable[[Described], Described]] = MappingProxyType(
    {
        "base64": lambda described: _base64("[A-Za-z0-9+/]", described),
        "base64url": lambda described: _base64("[A-Za-z0-9_-]", described),
        "email": lambda _: _mail(_MAIL),
        "name-email": lambda _: _mail(f"(?:{_MAIL}|[A-Za-z]+(?: [A-Za-z]+)* <{_MAIL}>)"),
        "ipv4network": lambda _: _IPV4_NETWORK,
        "ipv6network": lambda _: _IPV6_NETWORK,
        "ipv4interface": lambda _: _IPV4_INTERFACE,
        "ipv6interface": lambda _: _IPV6_NETWORK,
        "ipvanyaddress": lambda _: {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        "ipvanynetwork": lambda _: {"anyOf": [_IPV4_NETWORK, _IPV6_NETWORK]},
        "ipvanyinterface": lambda _: {"anyOf": [_IPV4_INTERFACE, _IPV6_NETWORK]},
        **{f"uuid{version}": _uuid(version) for version in range(1, 9)},
    }
)
