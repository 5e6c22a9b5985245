"""Everything that pydantic describes: random texts drawn through the masks, each of which pydantic must read."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import fractions
import importlib.util
import ipaddress
import os
import pathlib
import random
import re
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypeVar, Union

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag
from pydantic.networks import IPvAnyAddress, IPvAnyInterface, IPvAnyNetwork
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12
from walks import Walker

import maskwright as mw

TEXTS = int(os.environ.get("MASKWRIGHT_LONG_TEXTS", "8"))  # of each type


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Mixed(enum.Enum):
    WORD = "w"
    NUMBER = 3
    NOTHING = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, lt=10)


class Dog(BaseModel):
    kind: Literal["dog", "puppy"]
    name: str = Field(min_length=1, max_length=8, pattern="^[A-Z]")


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")
    others: list[Cat | Dog] = Field(default=[], max_length=2)


def kind_of(value: Any) -> str:
    return "many" if isinstance(value, list) or isinstance(getattr(value, "items", None), list) else "one"


class Choice(BaseModel):
    value: Annotated[
        Annotated[list[int], Tag("many")] | Annotated[int, Tag("one")],
        Discriminator(kind_of),
    ]


class Tree(BaseModel):
    value: int
    children: list[Tree] = []
    parent: Tree | None = None


class Left(BaseModel):
    right: Right | None = None


class Right(BaseModel):
    left: Left | None = None


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next: Optional[str] = None  # noqa: UP045


class Constrained(BaseModel):
    a: Annotated[int, Field(gt=0, le=100, multiple_of=5)]
    b: Annotated[float, Field(ge=0, lt=1)]
    c: Annotated[str, Field(min_length=2, max_length=4)]
    d: Annotated[Decimal, Field(max_digits=5, decimal_places=2)]
    e: Annotated[list[int], Field(min_length=1, max_length=3)]


class Aliased(BaseModel):
    a: int = Field(alias="first name")
    b: int = Field(validation_alias="valid", serialization_alias="serial")
    c: int = Field(validation_alias=pydantic.AliasChoices("x", pydantic.AliasPath("y", "z")))


class ByName(BaseModel, validate_by_name=True, validate_by_alias=False):
    a: int = Field(alias="first")


class EitherName(BaseModel, populate_by_name=True):
    a: int = Field(alias="first")


class Computed(BaseModel):
    width: int = Field(title="Width of it", description="in metres")

    @pydantic.computed_field
    def area(self) -> int:
        return self.width**2


class Closed(BaseModel, extra="forbid"):
    a: int = 1


class Open(BaseModel, extra="allow"):
    a: int


class OpenToNumbers(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, int]
    a: int


class Titled(BaseModel, title="A title", frozen=True, use_enum_values=True):
    colour: Colour = Colour.RED


class InBase64(BaseModel, val_json_bytes="base64"):
    data: bytes


class InHex(BaseModel, val_json_bytes="hex"):
    data: bytes


class Stripped(BaseModel, str_strip_whitespace=True):
    name: str = Field(min_length=2)


class Strict(BaseModel, strict=True):
    a: int
    b: float
    c: str
    d: bool
    e: datetime.date


class Typed(TypedDict):
    a: int
    b: NotRequired[str]


class Pair(NamedTuple):
    a: int
    b: str = ""


@dataclasses.dataclass
class Plain:
    a: int
    b: list[Typed] = dataclasses.field(default_factory=list)


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="allow"))
class Loose:
    a: int


Numbers = pydantic.RootModel[list[int]]

# Each with texts that must be among those that can be written.
CASES: dict[str, tuple[Any, list[str]]] = {
    "int": (int, ["5", "-12"]),
    "float": (float, ["5", "0.5", "1e-05"]),
    "bool": (bool, ["true"]),
    "none": (type(None), ["null"]),
    "str": (str, ['"é"']),
    "any": (Any, ['{"a": [1]}']),
    "strict": (Strict, ['{"a": 1, "b": 1.5, "c": "", "d": true, "e": "2024-02-29"}']),
    "decimal": (Decimal, ["1.50", '"1.50"']),
    "decimal, bounds": (Annotated[Decimal, Field(gt=0, le=10, multiple_of=Decimal("0.5"))], ["1.5", "10"]),
    "decimal, digits": (Annotated[Decimal, Field(max_digits=4)], ["1234", "1.234", "0.1234"]),
    "decimal, places": (Annotated[Decimal, Field(decimal_places=2)], ["1234.25"]),
    "decimal, both": (Annotated[Decimal, Field(max_digits=5, decimal_places=2, ge=0)], ["999.99"]),
    "fraction": (fractions.Fraction, ['"3/4"', "0.5"]),
    "complex": (complex, ['"1+2j"']),
    "constrained": (Constrained, ['{"a": 5, "b": 0.5, "c": "ab", "d": 123.45, "e": [1]}']),
    "literal": (Literal["a", 1, True, None], ['"a"', "1", "true", "null"]),
    "enum": (Colour, ['"red"']),
    "enum of ints": (Size, ["2"]),
    "enum of many": (Mixed, ['"w"', "3", "null"]),
    "datetime": (datetime.datetime, ['"2024-02-29T12:00:00Z"', '"2024-02-29T12:00:00.5+01:00"']),
    "datetime, aware": (pydantic.AwareDatetime, ['"2024-02-29T12:00:00Z"']),
    "datetime, naive": (pydantic.NaiveDatetime, ['"2024-02-29T12:00:00"']),
    "date": (datetime.date, ['"2024-02-29"', '"0001-01-01"']),
    "time": (datetime.time, ['"12:00:00Z"', '"23:59:59.123-08:00"']),
    "timedelta": (datetime.timedelta, ['"P1DT2H"', '"P2W"']),
    "uuid": (uuid.UUID, ['"2eb8aa08-aa98-11ea-b4aa-73b441d16380"']),
    "uuid1": (pydantic.UUID1, ['"2eb8aa08-aa98-11ea-b4aa-73b441d16380"']),
    "uuid4": (pydantic.UUID4, ['"2eb8aa08-aa98-41ea-b4aa-73b441d16380"']),
    "ipv4": (ipaddress.IPv4Address, ['"127.0.0.1"']),
    "ipv6": (ipaddress.IPv6Address, ['"::1"']),
    "ipv4 network": (ipaddress.IPv4Network, ['"10.0.0.0/8"', '"1.2.3.4"', '"192.168.128.0/17"', '"0.0.0.0/0"']),
    "ipv6 network": (ipaddress.IPv6Network, ['"2001:db8::/32"', '"::/0"', '"::1"']),
    "ipv4 interface": (ipaddress.IPv4Interface, ['"10.1.2.3/8"']),
    "ipv6 interface": (ipaddress.IPv6Interface, ['"2001:db8::/32"']),
    "ip address": (IPvAnyAddress, ['"127.0.0.1"', '"::1"']),
    "ip network": (IPvAnyNetwork, ['"10.0.0.0/8"', '"2001:db8::/32"']),
    "ip interface": (IPvAnyInterface, ['"10.1.0.0/8"']),
    "path": (pathlib.Path, ['"/tmp/a"']),
    "bytes": (bytes, ['"é"']),
    "bytes, short": (Annotated[bytes, Field(min_length=1, max_length=3)], ['"abc"']),
    "bytes in base64": (InBase64, ['{"data": "YWI="}', '{"data": "-_8="}']),
    "bytes in hex": (InHex, ['{"data": "00Ff"}']),
    "base64 bytes": (pydantic.Base64Bytes, ['"YWI="', '"/+8="']),
    "base64 str": (pydantic.Base64Str, ['"YWI="', '"YQ=="', '"YWJj"']),
    "base64url bytes": (pydantic.Base64UrlBytes, ['"_-8="']),
    "base64url str": (pydantic.Base64UrlStr, ['"YWI="']),
    "secret": (pydantic.SecretStr, ['"x"']),
    "secret bytes": (pydantic.SecretBytes, ['"x"']),
    "secret int": (pydantic.Secret[int], ["5"]),
    "pattern": (re.Pattern, ['"^[a-z]{2,4}$"']),
    "url": (pydantic.AnyUrl, ['"https://example.com/a?b=c#d"', '"custom+x://host:80"']),
    "http url": (pydantic.HttpUrl, ['"https://example.com/a%20b"', '"http://localhost:8080"']),
    "file url": (pydantic.FileUrl, ['"file:///a/b"']),
    "websocket": (pydantic.WebsocketUrl, ['"ws://a.example/b"']),
    "dsn": (pydantic.PostgresDsn, ['"postgresql://db:5432/name"']),
    "stripped": (Stripped, ['{"name": "a b"}']),
    "constraints": (Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=5)], ['"Ab c"']),
    "optional": (Optional[int], ["null", "1"]),  # noqa: UP045
    "union": (Union[int, str, list[float]], ["1", '"a"', "[0.5]"]),  # noqa: UP007
    "list": (Annotated[list[int], Field(min_length=1, max_length=3)], ["[1, 2]"]),
    "sequence": (Sequence[int], ["[]"]),
    "deque": (collections.deque[int], ["[1]"]),
    "tuple": (tuple[int, str], ['[1, "a"]']),
    "tuple of any length": (tuple[int, ...], ["[]", "[1, 2, 3]"]),
    "tuple of none": (tuple[()], ["[]"]),
    "named tuple": (Pair, ['[1, "a"]', "[1]"]),
    "dict": (dict[str, int], ['{"a": 1}']),
    "dict of any": (dict[str, Any], ['{"a": [1]}']),
    "mapping": (Mapping[str, list[int]], ['{"a": [1]}']),
    "counter": (collections.Counter[str], ['{"a": 1}']),
    "dict, length": (Annotated[dict[str, int], Field(min_length=1, max_length=2)], ['{"a": 1}']),
    "dict, pattern": (dict[Annotated[str, Field(pattern="^a+$")], int], ['{"aa": 1}']),
    "dict, long keys": (dict[Annotated[str, Field(min_length=2)], int], ['{"ab": 1}']),
    "dict, literal keys": (dict[Literal["a", "b"], int], ['{"a": 1, "b": 2}']),
    "dict, enum keys": (dict[Colour, int], ['{"red": 1}']),
    "dict, int keys": (dict[int, str], ['{"12": "a"}']),
    "dict, float keys": (dict[float, str], ['{"1.5": "a"}']),
    "dict, bool keys": (dict[bool, str], ['{"true": "a"}']),
    "dict, date keys": (dict[datetime.date, int], ['{"2024-02-29": 1}']),
    "dict, uuid keys": (dict[pydantic.UUID4, int], ["{}"]),
    "typed dict": (Typed, ['{"a": 1}', '{"a": 1, "b": ""}']),
    "dataclass": (Plain, ['{"a": 1, "b": [{"a": 2}]}']),
    "loose dataclass": (Loose, ['{"a": 1, "x": [2]}']),
    "root model": (Numbers, ["[1, 2]"]),
    "discriminated": (Owner, ['{"pet": {"kind": "puppy", "name": "Rex"}}', '{"pet": {"kind": "cat", "lives": 9}}']),
    "discriminated by a function": (Choice, ['{"value": [1]}', '{"value": 1}']),
    "recursive": (Tree, ['{"value": 1, "children": [{"value": 2, "parent": null}]}']),
    "mutually recursive": (Left, ['{"right": {"left": {}}}']),
    "generic": (Page[Cat], ['{"items": [{"kind": "cat", "lives": 9}], "next": null}']),
    "generic of generic": (Page[Page[int]], ['{"items": [{"items": [1]}]}']),
    "aliases": (Aliased, ['{"first name": 1, "valid": 2, "x": 3}']),
    "by name": (ByName, ['{"a": 1}']),
    "by either name": (EitherName, ['{"first": 1}']),
    "computed field": (Computed, ['{"width": 3}']),
    "forbids extra": (Closed, ["{}", '{"a": 1}']),
    "allows extra": (Open, ['{"a": 1, "b": [2]}']),
    "allows extra numbers": (OpenToNumbers, ['{"a": 1, "b": 2}']),
    "titles": (Titled, ['{"colour": "blue"}']),
    "constructed": (pydantic.create_model("Made", a=(int, 3), b=(Colour, ...)), ['{"b": "red"}']),
    "set": (set[int], ["[1, 2]"]),
    "frozenset": (frozenset[str], ['["a"]']),
}
MAIL: dict[str, tuple[Any, list[str]]] = {
    "mail address": (pydantic.EmailStr, ['"a.b+c@d-e.example"', '"x@mail.example.com"', '"!#$%@a.b.cd"']),
    "mail address, short": (Annotated[pydantic.EmailStr, Field(max_length=12)], ['"ab@cd.com"']),
    "mail address with a name": (pydantic.NameEmail, ['"Ada King <ada@a.org>"', '"ada@a.org"']),
}
NO_MAIL = [
    '"a@b"',
    '"a@b.test"',
    '"a@b.c.LOCALHOST"',
    '"a@xn--a.com"',
    '"a@1.2"',
    '"é@a.org"',
    '"\\"a\\"@a.org"',
    '"a..b@a.org"',
]
if importlib.util.find_spec("email_validator") is not None:  # pydantic cannot even describe these without it
    CASES |= MAIL
REFUSED: dict[str, tuple[Any, str]] = {
    "json": (pydantic.Json[list[int]], "JSON inside of a string"),
    "a path of keys": (
        pydantic.create_model("Paths", a=(int, Field(validation_alias=pydantic.AliasPath("p", "q")))),
        "a path",
    ),
    "bounds of keys": (dict[Annotated[int, Field(gt=3)], int], "keys"),
    "a callable": (collections.abc.Callable[[int], int], "no JSON Schema"),
}


@pytest.fixture(scope="module")
def compiler(byte_info: mw.TokenizerInfo) -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_info, cache_enabled=False)


@pytest.fixture(scope="module")
def walker(byte_info: mw.TokenizerInfo) -> Walker:
    return Walker(byte_info)


@pytest.mark.parametrize("name", CASES)
def test_pydantic_reads_what_can_be_written(name: str, compiler: mw.GrammarCompiler, walker: Walker) -> None:
    source, examples = CASES[name]
    grammar = compiler.compile_json_schema(source)
    adapter = pydantic.TypeAdapter(source)
    for example in examples:
        adapter.validate_json(example)
        matcher = mw.GrammarMatcher(grammar)
        assert matcher.accept_string(example) and matcher.is_completed(), example
    rng = random.Random(name)
    for _ in range(TEXTS):
        text = walker.text(grammar, rng)
        try:
            adapter.validate_json(text)
        except pydantic.ValidationError as error:
            raise AssertionError(f"pydantic does not read {text.decode()}\n{error}") from None


def test_mail_addresses_that_pydantic_does_not_read(compiler: mw.GrammarCompiler) -> None:
    pytest.importorskip("email_validator", reason="pydantic's EmailStr needs the package email-validator")
    grammar, adapter = compiler.compile_json_schema(pydantic.EmailStr), pydantic.TypeAdapter(pydantic.EmailStr)
    for text in NO_MAIL:
        assert not mw.GrammarMatcher(grammar).accept_string(text), text
    for domain, taken in (
        ("b" * 20, True),
        ("b" * 64, False),
        (".".join(["b"] * 123), True),
        (".".join(["b"] * 125), False),
    ):
        text = f'"a@{domain}.org"'
        assert mw.GrammarMatcher(grammar).accept_string(text) == taken, text
        if taken:
            adapter.validate_json(text)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_held_to_a_type_is_refused(name: str, compiler: mw.GrammarCompiler) -> None:
    source, reason = REFUSED[name]
    with pytest.raises(mw.UnsupportedError, match=reason):
        compiler.compile_json_schema(source)
