"""Dates, times and durations of RFC 3339 (section 5.6 and appendix A) as regular languages.

Days fit their months, in leap years and others. Seconds fit too, but for one thing: second 60 is in exactly where it is
23:59 in UTC, which couples the first digits of a time with its offset. Offsets in steps of a quarter of an hour are
known in that place, others are not (no clock has used one since leap seconds exist, and with them the automaton would
have to remember which of 1,440 minutes it has read in every time that anyone writes; so it is 96).

`T` and `Z` may be small letters in times, as RFC 3339 says explicitly; durations, of which it only collects an
informal grammar, have capitals.
"""

from __future__ import annotations

from functools import cache

from maskwright.grammars.regex import parse
from maskwright.grammars.regular import Regex, alternate, concat, literal, words

__all__ = ["date", "date_time", "duration", "time"]

_DAY = 24 * 60  # minutes


@cache
def date() -> Regex:
    """full-date: 2024-02-29."""
    leap_year = parse("[0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00")
    day = parse("(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])")
    return alternate(concat(parse("[0-9]{4}-"), day), concat(leap_year, literal("-02-29")))


@cache
def time() -> Regex:
    """full-time: 23:59:60.25+00:00."""
    fraction = parse(r"(\.[0-9]+)?")
    ordinary = parse("([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")
    offset = parse("[Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9]")
    return alternate(concat(ordinary, fraction, offset), _leap_second(fraction))


def _leap_second(fraction: Regex) -> Regex:
    """Second 60 of 23:59 UTC, at offsets of whole quarters of an hour; by hours, so that a step meets 24 branches."""
    hours = []
    for hour in range(24):
        minutes = []
        for minute in (14, 29, 44, 59):
            ahead = (hour * 60 + minute + 1) % _DAY  # local time minus 23:59
            behind = -ahead % _DAY
            offsets = [f"+{ahead // 60:02}:{ahead % 60:02}", f"-{behind // 60:02}:{behind % 60:02}"]
            if ahead == 0:
                offsets += ["Z", "z"]
            minutes.append(concat(literal(f"{minute}:60"), fraction, words(offsets)))
        hours.append(concat(literal(f"{hour:02}:"), alternate(*minutes)))
    return alternate(*hours)


@cache
def date_time() -> Regex:
    """date-time: 1985-04-12T23:20:50.52Z."""
    return concat(date(), parse("[Tt]"), time())


@cache
def duration() -> Regex:
    """Appendix A: units from large to small without a gap (P1Y2M3DT4H5M6S, PT36H), or weeks alone (P2W)."""
    in_time = "T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S)"
    in_date = "([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)"
    return parse(f"P({in_date}({in_time})?|{in_time}|[0-9]+W)")
