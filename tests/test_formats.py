"""The languages of `format`: the official suite, exhaustive small domains, and other people's checkers."""

from __future__ import annotations

import calendar
import ipaddress
import json
import random
import re
import tomllib
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from jsonschema import FormatChecker

from maskwright.grammars import regular
from maskwright.grammars.errors import InvalidError, UnsupportedError
from maskwright.grammars.format_addresses import ipv6
from maskwright.grammars.format_regex import MAX_DEPTH
from maskwright.grammars.formats import FORMATS, format_language
from maskwright.grammars.regex import parse
from maskwright.grammars.regular import Regex, finite_words, matches

CASES = tomllib.loads((Path(__file__).parent / "cases/formats.toml").read_text("utf-8"))["format"]
SUITE = Path(__file__).parents[2] / "shared/data/json-schema-test-suite"

LEFT_OUT = {case["name"]: case.get("left_out", ()) for case in CASES}

ALL = sorted(FORMATS)


def language(name: str) -> Regex:
    found = format_language(name)
    assert found is not None
    return found


def some_members(start: Regex, rng: random.Random, count: int) -> list[str]:
    """Random walks, finished by a shortest end when they get long."""
    found = []
    for _ in range(count):
        node, text = start, ""
        while node.transitions() and not (node.nullable and rng.random() < 0.3):
            if len(text) > 50:
                text += regular.example(node) or ""
                break
            characters, node = rng.choice([step for step in node.transitions() if not regular.is_empty(step[1])])
            low, high = rng.choice(characters.ranges)
            text += chr(rng.randint(low, high))
        found.append(text)
    return found


def mutate(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(rng.randint(1, 2)):
        at = rng.randint(0, len(letters))
        kept = rng.choice((at, min(at + 1, len(letters))))
        letters[at:kept] = rng.choice(("", *'0123456789-:.TZ+@/[]%axf "'))
    return "".join(letters)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case: dict) -> None:
    found = language(case["name"])
    for text in case["valid"]:
        assert matches(found, text), text
    for text in case["invalid"]:
        assert not matches(found, text), text


def test_every_format_has_cases() -> None:
    assert sorted(case["name"] for case in CASES) == ALL


@cache
def suite_tests(draft: str, name: str) -> tuple[tuple[str, bool], ...]:
    paths = SUITE.joinpath(draft, "optional/format").glob(f"*{name}.json" if name == "regex" else f"{name}.json")
    groups = [group for path in paths for group in json.loads(path.read_text("utf-8"))]
    return tuple((test["data"], test["valid"]) for group in groups for test in group["tests"])


@pytest.mark.skipif(not SUITE.exists(), reason="the JSON Schema Test Suite is not beside the repository")
@pytest.mark.parametrize("draft", ["draft2020-12", "draft7", "draft4"])
@pytest.mark.parametrize("name", ALL)
def test_official_suite(draft: str, name: str) -> None:
    found = language(name)
    for text, valid in suite_tests(draft, name):
        if not isinstance(text, str):
            continue  # a format says nothing about other types
        if valid and (text in LEFT_OUT[name] or name == "hostname" and "xn--" in text):
            assert not matches(found, text)  # on purpose; the modules say why
            continue
        assert matches(found, text) == valid, text


def test_unknown() -> None:
    assert format_language("grid") is None


def test_built_once() -> None:
    assert all(format_language(name) is format_language(name) for name in ALL)


# -------------------------------------------------------------------- small domains, exhaustively


def test_days() -> None:
    date = language("date")
    for year in (0, 4, 100, 400, 1900, 1999, 2000, 2023, 2024, 2100, 9996):
        for month, day in product(range(14), range(33)):
            # The calendar repeats every 400 years, and the module `calendar` knows no year 0.
            valid = 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year + 400, month)[1]
            assert matches(date, f"{year:04}-{month:02}-{day:02}") == valid


def test_leap_years() -> None:
    date = language("date")
    for year in range(10_000):
        assert matches(date, f"{year:04}-02-29") == calendar.isleap(year)


def test_leap_seconds_are_at_the_end_of_a_utc_day() -> None:
    time = language("time")
    for hour, minute in product(range(24), range(60)):
        node = time
        for character in f"{hour:02}:{minute:02}:60":
            node = node.derivative(ord(character))
        expected = []
        for sign, ahead in product((1, -1), range(0, 24 * 60, 15)):
            if (hour * 60 + minute - sign * ahead) % (24 * 60) == 23 * 60 + 59:
                expected.append(f"{'-+'[sign > 0]}{ahead // 60:02}:{ahead % 60:02}")
                expected += ["Z", "z"] if sign > 0 and ahead == 0 else []
        # After the seconds come a fraction or nothing, and the offset; without a fraction that is a finite language.
        fraction = regular.concat(regular.literal("."), regular.ANY_STRING)
        offsets = finite_words(regular.intersect(node, regular.complement(fraction)), 4)
        assert offsets == tuple(sorted(expected)), (hour, minute)


def test_ipv4_octets() -> None:
    ipv4 = language("ipv4")
    for octet in [*map(str, range(1000)), *(f"{n:02}" for n in range(10)), *(f"{n:03}" for n in range(100)), ""]:
        valid = octet.isdigit() and str(int(octet)) == octet and int(octet) < 256
        assert matches(ipv4, f"{octet}.0.0.0") == matches(ipv4, f"1.23.{octet}.9") == valid


def is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def test_ipv6_shapes() -> None:
    """Every arrangement of groups and colons up to 8 groups, and the same before an IPv4 address."""
    found = language("ipv6")
    for length in range(13):
        for letters in product("a:", repeat=length):
            text = "".join(letters)
            assert matches(found, text) == is_ipv6(text), text
            if length < 10:
                assert matches(found, text + "1.2.3.4") == is_ipv6(text + "1.2.3.4"), text
    for before, after in product(range(10), range(10)):
        left, right = ":".join("1" * before), ":".join("2" * after)
        for text in (f"{left}::{right}", f"{left}:{right}", f"{left}::{right}:1.2.3.4", f"{left}:{right}:1.2.3.4"):
            assert matches(found, text) == is_ipv6(text), text


def test_ipv6_gap() -> None:
    """With a gap of two, as in mail addresses, `::` cannot stand for one group."""
    for before, after in product(range(8), range(8)):
        text = f"{':'.join('1' * before)}::{':'.join('2' * after)}"
        assert matches(ipv6(gap=2), text) == (before + after <= 6), text


def test_hostname_lengths() -> None:
    hostname = language("hostname")
    label = "a" * 63
    assert matches(hostname, label) and not matches(hostname, label + "a")
    assert matches(hostname, f"a-{label[2:]}") and not matches(hostname, f"{label[1:]}-")
    longest = ".".join([label] * 3 + ["a" * 61])
    assert len(longest) == 253
    assert matches(hostname, longest) and not matches(hostname, longest + "a")
    many = ".".join("a" * 127)
    assert len(many) == 253
    assert matches(hostname, many) and not matches(hostname, many + ".a")


# -------------------------------------------------------------------- other people's checkers

CHECKER = FormatChecker()
# Formats that their libraries do not read as the RFCs do: draft 3's times; a relative pointer's first digit alone;
# templates by a loose parser.
DIFFERENT = {"time", "relative-json-pointer", "uri-template"}
# Where they accept what the RFC does not: fractions and gaps in durations, any text with an @, a final dot of a host,
# hyphens anywhere in a UUID's digits, whatever Python alone reads as a pattern. Or where ours leaves more out: idn-hostname.
LOOSER = {"duration", "email", "idn-email", "idn-hostname", "hostname", "regex", "uuid"}


def out_of_their_depth(name: str, text: str) -> bool:
    """Leap seconds, future IP literals with a capital V (which the official suite has as valid), counts beyond 32 bits."""
    if name == "regex":
        return re.search("[0-9]{10}", text) is not None
    return (name == "date-time" and ":60" in text) or (name.startswith(("uri", "iri")) and "[V" in text)


@pytest.mark.parametrize("name", [name for name in ALL if name not in DIFFERENT])
def test_agrees_with_jsonschema(name: str) -> None:
    if name not in CHECKER.checkers:
        pytest.skip(f"jsonschema has no checker for {name} here")
    rng = random.Random(name)
    found = language(name)
    for member in some_members(found, rng, 120):
        assert matches(found, member)
        if out_of_their_depth(name, member):
            continue
        assert CHECKER.conforms(member, name), member
        changed = mutate(member, rng)
        if not out_of_their_depth(name, changed):
            ours, theirs = matches(found, changed), CHECKER.conforms(changed, name)
            assert ours == theirs or (theirs and name in LOOSER), changed


@pytest.mark.filterwarnings("ignore:Possible (nested set|set)")
def test_regex_is_what_both_parsers_of_patterns_read() -> None:
    """Soundness on members and on texts near them; and short texts are left out for the documented reasons only.

    Possessive counts, which both parsers read, are none of ECMA-262's.
    """
    rng = random.Random(262)
    found = language("regex")
    alphabet = "ab-z]^[(){}?*+|\\dwx4u0,2$.!:="
    texts = some_members(found, rng, 60)
    texts += [mutate(member, rng) for member in texts]
    texts += ["".join(rng.choices(alphabet, k=rng.randint(1, 9))) for _ in range(3000)]
    for text in texts:
        readable = reads(re.compile, text) and reads(parse, text)
        if matches(found, text):
            assert readable, text
        elif readable:
            assert re.search(r"(?<!\\)\{|\\0|\[\^?\]|\[.*-.*\]|\(\?[=!]|[*+?]\+", text), text


def reads(parser: Callable[[str], object], pattern: str) -> bool:
    try:
        parser(pattern)
    except (re.error, OverflowError, InvalidError, UnsupportedError):
        return False
    return True


def test_regex_depth() -> None:
    found = language("regex")
    for opening in ("(", "(?:", "(?!"):
        assert matches(found, opening * MAX_DEPTH + "a" + ")" * MAX_DEPTH)
        assert not matches(found, opening * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1))


# -------------------------------------------------------------------- size


@pytest.mark.parametrize("name, most", [
    ("date", 30), ("date-time", 950), ("duration", 20), ("email", 160), ("ipv4", 30), ("ipv6", 160),
    ("json-pointer", 5), ("uri", 190), ("uri-reference", 190), ("uri-template", 20), ("uuid", 40), ("iri", 190),
])  # fmt: skip
def test_automata_are_small(name: str, most: int) -> None:
    seen = {language(name)}
    todo = list(seen)
    while todo:
        for _, target in todo.pop().transitions():
            if target not in seen:
                seen.add(target)
                todo.append(target)
    assert len(seen) <= most
