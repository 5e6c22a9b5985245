"""IP addresses, host names and mail addresses as regular languages.

IPv4 addresses are four decimal octets without leading zeros (RFC 2673, section 3.2); IPv6 addresses are the forms of
RFC 4291, section 2.2, which RFC 3986 writes out as a grammar.

Host names follow RFC 1123 with the lengths of RFC 1035: letters, digits and inner hyphens, at most 63 a label and 253
in all. Labels that begin with `xn--` are left out: whether one is valid depends on what its Punycode decodes to (RFC
5891), which no practical automaton knows; so no invalid one is ever written, nor any internationalised one.

Mail addresses follow the grammar of RFC 5321, section 4.1.2 (`Mailbox`), and RFC 6531 for the internationalised ones.
The labels of a domain are what those grammars make them, without the lengths and the code point rules of the DNS; so
the official test suite has them, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from maskwright.grammars.charset import CharSet
from maskwright.grammars.regex import parse
from maskwright.grammars.regular import (
    ANY_CHAR,
    EMPTY,
    EPSILON,
    Regex,
    alternate,
    chars,
    concat,
    intersect,
    literal,
    repeat,
)

__all__ = ["email", "hostname", "idn_email", "ipv4", "ipv6"]

_GROUPS = 8  # of 16 bits in an IPv6 address


@cache
def ipv4() -> Regex:
    """127.0.0.1"""
    octet = "([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
    return parse(rf"({octet}\.){{3}}{octet}")


@lru_cache(maxsize=16)
def ipv6(gap: int = 1) -> Regex:
    """2001:db8::7 and ::ffff:127.0.0.1, where `::` stands for `gap` groups of zeros at least."""
    group, colon = parse("[0-9A-Fa-f]{1,4}"), literal(":")
    # after[n]: what may follow `::` when it leaves room for n groups; the last two may be an IPv4 address.
    ends, after = EPSILON, [EPSILON]
    for room in range(1, _GROUPS - gap + 1):
        more = concat(group, ends)
        if room >= 2:
            more = alternate(more, ipv4())
        after.append(alternate(EPSILON, more))
        ends = alternate(EPSILON, concat(colon, more))
    # rest: what may follow the first n groups, from the last n on.
    rest = EPSILON
    for done in range(_GROUPS - 1, 0, -1):
        follows = concat(group, rest)
        if done == _GROUPS - 2:
            follows = alternate(follows, ipv4())
        if done <= _GROUPS - gap:
            follows = alternate(follows, concat(colon, after[_GROUPS - gap - done]))
        rest = concat(colon, follows)
    return alternate(concat(group, rest), concat(literal("::"), after[_GROUPS - gap]))


@cache
def hostname() -> Regex:
    """www.example.com"""
    label = _without(parse("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"), ("Xx", "Nn", "-", "-"))
    return intersect(concat(label, repeat(concat(literal("."), label), 0)), repeat(ANY_CHAR, 0, 253))


def _without(language: Regex, beginning: Sequence[str]) -> Regex:
    """The members that do not begin with a character of each of `beginning`, one after the other.

    A complement would do, but it takes a search to see where it leads to a dead end, and there are many states.
    """
    if not beginning:
        return EMPTY
    unwanted = CharSet.of(beginning[0])
    found = [EPSILON] if language.nullable else []
    for characters, rest in language.transitions():
        found.append(concat(chars(characters & ~unwanted), rest))
        found.append(concat(chars(characters & unwanted), _without(rest, beginning[1:])))
    return alternate(*found)


@cache
def email() -> Regex:
    """joe.bloggs@example.com, "joe bloggs"@[127.0.0.1]"""
    return _mailbox("")


@cache
def idn_email() -> Regex:
    """실례@실례.테스트"""
    return _mailbox(r"\u0080-\u{10FFFF}")


def _mailbox(others: str) -> Regex:
    """A Mailbox where the characters of `others` may stand wherever letters may."""
    atom = f"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{others}-]+"
    quoted = rf'"([\x20\x21\x23-\x5B\x5D-\x7E{others}]|\\[\x20-\x7E])*"'
    label = f"[A-Za-z0-9{others}]+(-+[A-Za-z0-9{others}]+)*"
    # The tags of other address literals must be registered, and none is. There `::` is two groups at least.
    address = concat(literal("["), alternate(ipv4(), concat(parse("[Ii][Pp][Vv]6:"), ipv6(gap=2))), literal("]"))
    local_part = parse(rf"{atom}(\.{atom})*|{quoted}")
    return concat(local_part, literal("@"), alternate(parse(rf"{label}(\.{label})*"), address))
