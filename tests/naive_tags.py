"""Structural tags by string search: the oracle of tests/test_structural_tags.py.

    accepts({"type": "triggered_tags", "triggers": ["<f"], ...}, "text <f=a>1</f>")

Straight from what docs/tools.md says, for texts of a few characters: every function gives all the places where what it
reads may stop. Nothing is shared with the engine.
"""

from __future__ import annotations

from typing import Any

__all__ = ["accepts"]

Format = dict[str, Any]
Ends = tuple[str, ...]


def accepts(format: Format, text: str) -> bool:
    """Whether a text is one of the format."""
    return len(text) in _read(format, text, 0, ())


def _read(format: Format, text: str, start: int, ends: Ends) -> set[int]:
    """Where the format and one of the ends behind it may stop; without ends, where the format may."""
    kind = format["type"]
    if kind == "const_string":
        found = {start + len(format["value"])} if text.startswith(format["value"], start) else set()
        return _then(text, found, ends)
    if kind == "any_text":
        return _free(text, start, {}, format.get("excludes", []), ends)
    if kind == "sequence":
        places = {start}
        *first, last = format["elements"]
        for element in first:
            places = {stop for place in places for stop in _read(element, text, place, ())}
        return {stop for place in places for stop in _read(last, text, place, ends)}
    if kind == "or":
        return {stop for element in format["elements"] for stop in _read(element, text, start, ends)}
    if kind == "optional":
        return _then(text, {start}, ends) | _read(format["content"], text, start, ends)
    if kind == "tag":
        return _then(text, _tag(format, text, start), ends)
    if kind == "tags_with_separator":
        return _separated(format, text, start, ends)
    if kind == "triggered_tags":
        return _triggered(format, text, start, ends)
    assert kind == "dispatch"
    return _dispatch(format, text, start, ends)


def _then(text: str, places: set[int], ends: Ends) -> set[int]:
    if not ends:
        return places
    return {place + len(end) for place in places for end in ends if text.startswith(end, place)}


def _tag(tag: Format, text: str, start: int) -> set[int]:
    if not text.startswith(tag["begin"], start):
        return set()
    ends = (tag["end"],) if isinstance(tag["end"], str) else tuple(tag["end"])
    return _read(tag["content"], text, start + len(tag["begin"]), ends)


def _free(text: str, start: int, stops: dict[str, Any], excludes: list[str], ends: Ends) -> set[int]:
    """Free text: up to the first stop or end. A stop's value gives the places that follow, from where it begins."""
    found = set()
    every = [*stops, *ends]
    for here in range(start, len(text) + 1):
        read = text[start:here]
        complete = [stop for stop in every if read.endswith(stop)]
        if not complete:
            if not ends and not any(one in read for one in excludes):
                found.add(here)
            continue
        for stop in complete:
            begin = here - len(stop)
            if any(one in text[start:begin] for one in excludes):
                continue
            for other in every:  # a longer one that begins with it may follow
                if other.startswith(stop) and text.startswith(other, begin):
                    if other in stops:
                        found |= stops[other](begin)
                    if other in ends:
                        found.add(begin + len(other))
        break
    return found


def _separated(format: Format, text: str, start: int, ends: Ends) -> set[int]:
    found = set() if format.get("at_least_one") else {start}
    places, seen = {start}, set()
    while places:
        places = {stop for place in places for tag in format["tags"] for stop in _tag(tag, text, place)} - seen
        found |= places
        seen |= places
        separator = format["separator"]
        places = {place + len(separator) for place in places if text.startswith(separator, place)}
        if format.get("stop_after_first"):
            break
    return _then(text, found, ends)


def _triggered(format: Format, text: str, start: int, ends: Ends) -> set[int]:
    def after(place: int) -> set[int]:
        return _then(text, {place}, ends) if format.get("stop_after_first") else free(place)

    def free(place: int) -> set[int]:
        return _free(text, place, dict.fromkeys(format["triggers"], any_tag), format.get("excludes", []), ends)

    def any_tag(begin: int) -> set[int]:
        places = {stop for tag in format["tags"] for stop in _tag(tag, text, begin)}
        return {stop for place in places for stop in after(place)}

    return any_tag(start) if format.get("at_least_one") else free(start)


def _dispatch(format: Format, text: str, start: int, ends: Ends) -> set[int]:
    def after(place: int) -> set[int]:
        return free(place) if format.get("loop", True) else _then(text, {place}, ends)

    def content(pattern: str, begin: int) -> set[int]:
        places = set()
        for other, inside in format["rules"]:
            if other == pattern:
                places |= _read(inside, text, begin + len(pattern), ())
        return {stop for place in places for stop in after(place)}

    def free(place: int) -> set[int]:
        stops = {pattern: lambda begin, pattern=pattern: content(pattern, begin) for pattern, _ in format["rules"]}
        return _free(text, place, stops, format.get("excludes", []), ends)

    return free(start)
