"""URIs (RFC 3986), IRIs (RFC 3987), their templates (RFC 6570) and pointers (RFC 6901) as regular languages.

The grammars of the RFCs, production by production; an IRI is a URI with more letters. What schemes, servers or
bidirectional text demand beyond the generic syntax is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from maskwright.grammars.charset import EMPTY_SET, CharSet
from maskwright.grammars.format_addresses import ipv6
from maskwright.grammars.regex import parse
from maskwright.grammars.regular import EPSILON, Regex, alternate, chars, concat, literal, repeat

__all__ = ["iri", "iri_reference", "json_pointer", "relative_json_pointer", "uri", "uri_reference", "uri_template"]

_UNRESERVED = CharSet([(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)]) | CharSet.of("-._~")
_SUB_DELIMITERS = CharSet.of("!$&'()*+,;=")
_INTERNATIONAL = CharSet(  # ucschar
    [(0xA0, 0xD7FF), (0xF900, 0xFDCF), (0xFDF0, 0xFFEF)]
    + [(plane << 16, (plane << 16) + 0xFFFD) for plane in range(1, 14)]
    + [(0xE1000, 0xEFFFD)]
)
_PRIVATE = CharSet([(0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)])  # iprivate


@dataclass(frozen=True, slots=True)
class _Syntax:
    """The productions that URIs and IRIs share, named as in RFC 3986, over the letters of either."""

    letters: CharSet  # unreserved
    private: CharSet  # what only a query may hold

    def _some(self, extra: str, least: int = 0, more: CharSet = EMPTY_SET) -> Regex:
        """Letters, sub-delimiters, characters of `extra` and `more`, and percent-encoded octets."""
        plain = chars(self.letters | _SUB_DELIMITERS | CharSet.of(extra) | more)
        return repeat(alternate(plain, parse("%[0-9A-Fa-f]{2}")), least)

    def authority(self) -> Regex:
        future = concat(parse(r"[Vv][0-9A-Fa-f]+\."), repeat(chars(_UNRESERVED | _SUB_DELIMITERS | CharSet.of(":")), 1))
        address = concat(literal("["), alternate(ipv6(), future), literal("]"))
        user = concat(self._some(":"), literal("@"))
        return concat(repeat(user, 0, 1), alternate(address, self._some("")), parse("(:[0-9]*)?"))

    def path(self, first: str) -> Regex:
        """An authority and its path, a path alone, or nothing.

        Args:
            first: what a first segment without a slash before it may hold beside letters and sub-delimiters.
        """
        segments = repeat(concat(literal("/"), self._some(":@")), 0)
        rootless = concat(self._some(first, 1), segments)
        absolute = concat(literal("/"), alternate(EPSILON, concat(self._some(":@", 1), segments)))
        return alternate(concat(literal("//"), self.authority(), segments), absolute, rootless, EPSILON)

    def ending(self) -> Regex:
        query = concat(literal("?"), self._some(":@/?", more=self.private))
        fragment = concat(literal("#"), self._some(":@/?"))
        return concat(repeat(query, 0, 1), repeat(fragment, 0, 1))

    def absolute(self) -> Regex:
        """A scheme and what follows it."""
        return concat(parse("[A-Za-z][A-Za-z0-9+.-]*:"), self.path(":@"), self.ending())

    def reference(self) -> Regex:
        """The same, or a reference relative to one; its first segment has no colon, lest it look like a scheme."""
        return alternate(self.absolute(), concat(self.path("@"), self.ending()))


_URI = _Syntax(_UNRESERVED, EMPTY_SET)
_IRI = _Syntax(_UNRESERVED | _INTERNATIONAL, _PRIVATE)


@cache
def uri() -> Regex:
    """https://example.com/a?b#c"""
    return _URI.absolute()


@cache
def uri_reference() -> Regex:
    """../a?b#c"""
    return _URI.reference()


@cache
def iri() -> Regex:
    """http://ƒøø.ßår/?∂éœ=πîx#πîüx"""
    return _IRI.absolute()


@cache
def iri_reference() -> Regex:
    """/âππ"""
    return _IRI.reference()


@cache
def uri_template() -> Regex:
    """http://example.com/{term:1}/{?q*,lang}: any level; without the operators that the RFC reserves for the future."""
    triplet = parse("%[0-9A-Fa-f]{2}")
    # RFC 6570, section 2.1, with erratum 6937 (the apostrophe).
    literals = parse(r"[!#$&-;=?-\[\]_a-z~]")
    character = alternate(literals, chars(_INTERNATIONAL | _PRIVATE), triplet)
    letter = alternate(parse("[A-Za-z0-9_]"), triplet)
    name = concat(letter, repeat(concat(repeat(literal("."), 0, 1), letter), 0))
    variable = concat(name, parse(r"(:[1-9][0-9]{0,3}|\*)?"))
    variables = concat(variable, repeat(concat(literal(","), variable), 0))
    expression = concat(literal("{"), parse("[+#./;?&]?"), variables, literal("}"))
    return repeat(alternate(character, expression), 0)


@cache
def json_pointer() -> Regex:
    """/foo/0/a~1b"""
    return parse("(/([^~/]|~[01])*)*")


@cache
def relative_json_pointer() -> Regex:
    """1/foo, 0#"""
    return concat(parse("0|[1-9][0-9]*"), alternate(literal("#"), json_pointer()))
