"""The languages of `format`, by name.

Each is exact unless its own module says what it leaves out; none lets a string in that its specification keeps out.
They are built when first asked for and kept for the life of the process (they are immutable, and few).

| format                                       | specification                  | module             |
|----------------------------------------------|--------------------------------|--------------------|
| date-time, date, time, duration              | RFC 3339                       | `format_times`     |
| ipv4, ipv6, hostname, email, idn-email       | RFC 2673, 4291, 1123, 5321, 6531 | `format_addresses` |
| uri, uri-reference, iri, iri-reference       | RFC 3986, 3987                 | `format_uris`      |
| uri-template                                 | RFC 6570                       | `format_uris`      |
| json-pointer, relative-json-pointer          | RFC 6901, its relative draft   | `format_uris`      |
| uuid                                         | RFC 4122                       | here               |
| regex                                        | ECMA-262                       | `format_regex`     |
| idn-hostname                                 | RFC 5890 to 5893               | `format_idn`       |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from maskwright.grammars import format_addresses, format_idn, format_regex, format_times, format_uris
from maskwright.grammars.regex import parse
from maskwright.grammars.regular import Regex

__all__ = ["FORMATS", "format_language"]


@cache
def _uuid() -> Regex:
    """2eb8aa08-aa98-11ea-b4aa-73b441d16380, of any version and variant."""
    return parse("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


FORMATS: Mapping[str, Callable[[], Regex]] = MappingProxyType(
    {
        "date": format_times.date,
        "date-time": format_times.date_time,
        "duration": format_times.duration,
        "email": format_addresses.email,
        "hostname": format_addresses.hostname,
        "idn-email": format_addresses.idn_email,
        "idn-hostname": format_idn.idn_hostname,
        "ipv4": format_addresses.ipv4,
        "ipv6": format_addresses.ipv6,
        "iri": format_uris.iri,
        "iri-reference": format_uris.iri_reference,
        "json-pointer": format_uris.json_pointer,
        "regex": format_regex.regex,
        "relative-json-pointer": format_uris.relative_json_pointer,
        "time": format_times.time,
        "uri": format_uris.uri,
        "uri-reference": format_uris.uri_reference,
        "uri-template": format_uris.uri_template,
        "uuid": _uuid,
    }
)


def format_language(name: str) -> Regex | None:
    """The strings of a format; None where the name is unknown, which makes it an annotation."""
    build = FORMATS.get(name)
    return None if build is None else build()
