"""Structural tags: free text with regions that have a grammar of their own, as rules.

    read = structural_tag({"type": "structural_tag", "format": {"type": "triggered_tags", ...}})

    free ::= text | text-up-to-"<function=" ("a>" %json {...} "</function>" | "b>" ...) free

Free text is a regular language (free_text.py): it goes on until one of its *stops* is complete, and then what the stop
stands for must follow. A trigger is a stop, behind it come the ends of its tags' beginnings, their contents, and free text
again; the end of the tag around it is a stop, too. So a format is lowered together with the end that follows it.

A model may write some of these strings as special tokens, which have no text in the language. Given a vocabulary, a string
is cut at their names: `<|channel|>final` is a special token and a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from maskwright.grammars import regular
from maskwright.grammars import structural_tag_formats as formats
from maskwright.grammars.branches import Pieces, branches, written
from maskwright.grammars.errors import GrammarError, InvalidError, UnsupportedError
from maskwright.grammars.free_text import FreeText
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.plain_schemas import is_plain_object
from maskwright.grammars.regular import ANY_STRING, EMPTY
from maskwright.grammars.rule_nodes import EMPTY_TEXT, choice, loop, renamed, sequence
from maskwright.grammars.rules import Call, Json, Node, Rules, Special, Switch, Text
from maskwright.grammars.xml_parameters import STYLES, xml_parameters

__all__ = ["Vocabulary", "structural_tag"]


class Vocabulary(Protocol):
    """What is asked of a vocabulary (compile/vocabulary.py)."""

    @property
    def special_names(self) -> Mapping[str, int]:
        """The special tokens by their names."""

    def text_of(self, token: int | str) -> str | None:
        """The text that a token writes, given by its id or its text; None for a special token."""


@dataclass(frozen=True)
class _Stop:
    """What ends free text.

    Attributes:
        text: the string that does, or the text before a special token that does.
        then: makes what follows the text.
        after: what follows that.
        special: whether `then` begins with a special token, which is what ends the text.
        late: whether `then` may wait until a text has come to it (rules.Switch).
    """

    text: str
    then: Callable[[], Node]
    after: Node = EMPTY_TEXT
    special: bool = False
    late: bool = False


@dataclass(frozen=True)
class _End:
    """What follows a format: any of some strings of pieces.

    Attributes:
        ways: the strings.
        node: all of them as a node.
        texts: those that are texts: free text before the end does not contain them.
    """

    ways: tuple[Pieces, ...] = ()
    node: Node = EMPTY_TEXT

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(text for way in self.ways for text in way if len(way) == 1 and isinstance(text, str))


_NO_END = _End()


def structural_tag(description: Any, options: SchemaOptions, vocabulary: Vocabulary | None = None) -> Rules:
    """The rules of a structural tag.

    Args:
        description: a dict or its JSON text (structural_tag_formats.py).
        options: the text policy of the schemas inside.
        vocabulary: tells which parts of strings are special tokens, and what tokens write; None: strings are texts, and
            tokens are special.

    Raises:
        GrammarError: InvalidError or UnsupportedError, with the JSON Pointer of the place. Schemas are checked later.
    """
    found, older = formats.read_structural_tag(description)
    lowering = _Lowering(options, vocabulary, older)
    lowering.bodies["root"] = EMPTY_TEXT  # the first of the rules
    lowering.bodies["root"] = lowering.lower(found, "" if older else "/format", _NO_END)
    return Rules(lowering.bodies, "root")


class _Lowering:
    """Makes the rules of one description.

    Args:
        older: whether it lists `structures`, which is where its tags are found.
    """

    def __init__(self, options: SchemaOptions, vocabulary: Vocabulary | None, older: bool) -> None:
        self._older, self._tags = older, "structures" if older else "tags"
        self.bodies: dict[str, Node] = {}
        self._options, self._vocabulary = options, vocabulary
        self._names = None
        longest_first = sorted(filter(None, vocabulary.special_names if vocabulary else ()), key=len, reverse=True)
        if longest_first:
            self._names = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._schemas: dict[tuple[int, SchemaOptions, str], Node] = {}

    # -------------------------------------------------------------------- strings and tokens

    def _pieces(self, text: str) -> Pieces:
        """A string cut at the names of special tokens."""
        if self._names is None:
            return (text,) if text else ()
        parts = self._names.split(text)
        return tuple(Special(part) if at % 2 else part for at, part in enumerate(parts) if part)

    def _token(self, token: int | str, place: str) -> str | Special:
        """What a token stands for: itself if it is special, or its text."""
        if self._vocabulary is None:
            return Special(token)
        try:
            text = self._vocabulary.text_of(token)
        except GrammarError as error:
            raise error.at(place) from error
        return Special(token) if text is None else text

    def _mark(self, written: str | formats.Token, place: str) -> Pieces:
        if isinstance(written, str):
            return self._pieces(written)
        return (self._token(written.token, place + "/token"),)

    def _texts(self, tokens: Iterable[int | str], place: str) -> list[str]:
        """The texts of the tokens that are not special; special tokens are never in free text."""
        pieces = (self._token(token, f"{place}/{number}") for number, token in enumerate(tokens))
        return [piece for piece in pieces if isinstance(piece, str)]

    # -------------------------------------------------------------------- free text

    def _free(self, stops: Iterable[_Stop], excludes: Iterable[str], end: _End, place: str) -> Node:
        """Free text up to a stop and what follows that; where no end follows, it may end anywhere."""
        every = [*stops, *(_stop(way, partial(written, ())) for way in end.ways)]
        texts = list(dict.fromkeys(stop.text for stop in every if not stop.special))
        numbers = {text: number for number, text in enumerate(texts)}
        free = FreeText(texts, filter(None, excludes))
        # A longer stop that begins with another goes on behind it.
        behind: dict[str, list[_Stop]] = {text: [] for text in texts}
        for stop in every:
            if not stop.special:
                behind[_beginning(free, numbers[stop.text], place)].append(stop)
        ways: list[Node] = []
        late: dict[int, Callable[[], Node]] = {}
        for number, (text, here) in enumerate(behind.items()):
            if not here:
                continue
            if all(stop.late for stop in here) and not free.overlaps:
                late[number] = partial(_behind, text, here)
            elif (language := free.until(number)) is not EMPTY:
                ways += [
                    sequence([Text(language), written(_rest((stop.text,), (text,))), stop.then(), stop.after])
                    for stop in here
                ]
        if late:
            after = next(stop.after for stop in every if stop.late)
            ways.append(sequence([Switch(free.reader(late), late), after]))
        for stop in every:
            if stop.special:
                last = regular.concat(ANY_STRING, regular.literal(stop.text)) if stop.text else ANY_STRING
                before = Text(regular.intersect(free.without(), last))
                ways.append(sequence([before, stop.then(), stop.after]))
        if not end.ways:
            ways.append(Text(free.without()))
        return choice(ways)

    # -------------------------------------------------------------------- formats

    def lower(self, format: formats.Format, place: str, end: _End, avoided: tuple[str, ...] = ()) -> Node:
        """The texts of a format, the end included.

        Args:
            format: what stands at `place`, a JSON Pointer.
            end: what follows the format; free text goes on up to the first of them.
            avoided: strings that free text inside does not contain: what comes after more of the same.
        """
        match format:
            case formats.ConstString():
                return sequence([written(self._pieces(format.value)), end.node])
            case formats.Token():
                return sequence([written((self._token(format.token, place + "/token"),)), end.node])
            case formats.JsonSchema() | formats.QwenXmlParameter():
                return sequence([self._schema(format, place), end.node])
            case formats.EbnfGrammar():
                return sequence([self._embedded(place + "/grammar", Grammar.from_ebnf, format.grammar), end.node])
            case formats.RegexPattern():
                return sequence([self._embedded(place + "/pattern", Grammar.from_regex, format.pattern), end.node])
            case formats.AnyText():
                return self._any_text(format, place, end, avoided)
            case formats.AnyTokens():
                _refuse_tokens(format.max_tokens, place)
                return self._free((), [*avoided, *self._texts(format.exclude_tokens, place)], end, place)
            case formats.ExcludeToken():
                raise UnsupportedError(
                    "a mask follows texts: where one token ends cannot be told from them",
                    pointer=place,
                    hint="use any_tokens, or a regex for the text of the token",
                )
            case formats.SequenceOf():
                *first, last = format.elements
                parts = [
                    self.lower(element, f"{place}/elements/{number}", _NO_END) for number, element in enumerate(first)
                ]
                return sequence([*parts, self.lower(last, f"{place}/elements/{len(first)}", end, avoided)])
            case formats.Or():
                return choice(
                    self.lower(element, f"{place}/elements/{number}", end, avoided)
                    for number, element in enumerate(format.elements)
                )
            case formats.Optional():
                return choice([end.node, self.lower(format.content, place + "/content", end, avoided)])
            case formats.Star():
                return self._repeated(format.content, place, end, avoided, 0, None)
            case formats.Plus():
                return self._repeated(format.content, place, end, avoided, 1, None)
            case formats.Repeat():
                high = None if format.max < 0 else format.max
                if high is not None and high < format.min:
                    raise InvalidError(
                        f"max is {high}, less than min, {format.min}", pointer=place, hint="-1 stands for any number"
                    )
                return self._repeated(format.content, place, end, avoided, format.min, high)
            case formats.TagFormat():
                return self._tag(self._mark(format.begin, place + "/begin"), format, place, end)
            case formats.TagsWithSeparator():
                return self._separated(format, place, end)
            case formats.TriggeredTags() | formats.TokenTriggeredTags():
                return self._triggered(format, place, end, avoided)
            case formats.Dispatch() | formats.TokenDispatch():
                return self._dispatch(format, place, end, avoided)
        raise AssertionError(f"a format without rules: {format!r}")

    def _repeated(
        self, content: formats.Format, place: str, end: _End, avoided: tuple[str, ...], low: int, high: int | None
    ) -> Node:
        inside = self.lower(content, place + "/content", _NO_END, (*avoided, *end.texts))
        return sequence([loop(inside, low, high), end.node])

    def _any_text(self, format: formats.AnyText, place: str, end: _End, avoided: tuple[str, ...]) -> Node:
        _refuse_tokens(format.max_tokens, place)
        excludes = [*avoided, *format.excludes]
        if format.max_chars is None:
            return self._free((), excludes, end, place)
        bound = regular.repeat(regular.ANY_CHAR, 0, format.max_chars)
        before = regular.intersect(FreeText((), [*filter(None, excludes), *end.texts]).without(), bound)
        return sequence([Text(before), end.node])

    def _schema(self, format: formats.JsonSchema | formats.QwenXmlParameter, place: str) -> Node:
        options, style = self._options, "qwen_xml"
        if isinstance(format, formats.JsonSchema):
            style = format.style
            if format.excludes:
                raise UnsupportedError(
                    "strings of a schema cannot be kept from containing some text",
                    pointer=place + "/excludes",
                    hint='say it in the schema: "not": {"pattern": ...}',
                )
            if format.any_order:
                options = replace(options, property_order="any")
            if format.max_whitespace_cnt is not None:
                options = replace(options, max_whitespace=min(format.max_whitespace_cnt, options.max_whitespace))
        key = (id(format.json_schema), options, style)
        found = self._schemas.get(key)
        if found is None:
            pointer = f"{place.removesuffix('/content')}/schema" if self._older else place + "/json_schema"
            if style == "json":
                found = Json(format.json_schema, options, pointer)
            elif style in STYLES:
                found = xml_parameters(format.json_schema, options, STYLES[style], pointer)
            else:
                raise UnsupportedError(
                    f"arguments in the style {style!r} cannot be enforced",
                    pointer=place + "/style",
                    hint=f"the styles are json, {', '.join(STYLES)}",
                )
            self._schemas[key] = found
        return found

    def _embedded(self, place: str, read: Any, text: str) -> Node:
        """The root of a grammar in another notation, its rules under names of their own."""
        try:
            rules: Rules = read(text).rules
        except GrammarError as error:
            raise error.at(place) from error
        names = {name: self._fresh(name) for name in rules.bodies}
        for name, body in rules.bodies.items():
            self.bodies[names[name]] = renamed(body, names)
        return Call(names[rules.root])

    def _fresh(self, name: str) -> str:
        """A name for one more rule."""
        number, found = 1, name
        while found in self.bodies:
            number += 1
            found = f"{name}-{number}"
        self.bodies[found] = EMPTY_TEXT
        return found

    # -------------------------------------------------------------------- tags

    def _tag(self, begin: Pieces, tag: formats.TagFormat, place: str, after: _End) -> Node:
        """A tag, of whose beginning `begin` is still to come, and what follows it."""
        endings = [tag.end] if isinstance(tag.end, str | formats.Token) else tag.end
        ways = [self._mark(one, place + "/end") for one in endings]
        content, inside = place + "/content", tuple(dict.fromkeys(way for way in ways if way))
        parts: list[Node] = []
        if inside:
            own = _End(inside, choice(map(written, inside)))
            parts.append(sequence([self.lower(tag.content, content, own), after.node]))
        if len(inside) < len(ways):  # one of them is empty: the tag ends where its content does
            parts.append(self.lower(tag.content, content, after))
        return sequence([written(begin), choice(parts)])

    def _separated(self, format: formats.TagsWithSeparator, place: str, end: _End) -> Node:
        tags = self._any_tag(
            _Way(
                self._mark(tag.begin, f"{place}/{self._tags}/{number}/begin"),
                tag,
                f"{place}/{self._tags}/{number}",
                _is_plain_tag(tag),
            )
            for number, tag in enumerate(format.tags)
        )
        if format.stop_after_first:
            found = sequence([tags, end.node])
        else:
            name = self._fresh("tags")
            more = sequence([written(self._pieces(format.separator)), Call(name)])
            self.bodies[name] = sequence([tags, choice([end.node, more])])
            found = Call(name)
        return found if format.at_least_one else choice([end.node, found])

    def _triggered(
        self,
        format: formats.TriggeredTags | formats.TokenTriggeredTags,
        place: str,
        end: _End,
        avoided: tuple[str, ...],
    ) -> Node:
        if isinstance(format, formats.TriggeredTags):
            triggers = [self._pieces(trigger) for trigger in format.triggers]
            excludes = [*avoided, *format.excludes]
        else:
            marks = enumerate(format.trigger_tokens)
            triggers = [(self._token(token, f"{place}/trigger_tokens/{number}"),) for number, token in marks]
            excludes = [*avoided, *self._texts(format.exclude_tokens, place + "/exclude_tokens")]
        begins, beginnings = [], _Beginnings(triggers)
        for number, tag in enumerate(format.tags):
            begin = self._mark(tag.begin, f"{place}/{self._tags}/{number}/begin")
            if not beginnings.of(begin):
                if not isinstance(tag.begin, str) or not tag.begin.startswith(_strings(format)):
                    raise InvalidError(
                        "the tag begins with none of the triggers, so nothing leads to it",
                        pointer=f"{place}/{self._tags}/{number}/begin",
                        hint="add a trigger that it begins with",
                    )
                triggers.append(begin)  # the trigger ends inside the name of a special token
                beginnings.add(begin)
            begins.append(begin)
        shortest = [trigger for trigger in dict.fromkeys(triggers) if beginnings.of(trigger) == [trigger]]
        tags = [
            _Way(begin, tag, f"{place}/{self._tags}/{number}", _is_plain_tag(tag))
            for number, (begin, tag) in enumerate(zip(begins, format.tags, strict=True))
        ]
        name = "" if format.stop_after_first else self._fresh("free")
        after = end.node if format.stop_after_first else Call(name)
        groups: dict[Pieces, list[_Way]] = {trigger: [] for trigger in shortest}
        for way in tags:
            for trigger in beginnings.of(way.begin):
                if trigger in groups:
                    groups[trigger].append(way._replace(begin=_rest(way.begin, trigger)))
        stops = []
        for trigger, behind in groups.items():
            late = all(tag.plain for tag in behind) and len(trigger) == 1 and bool(behind)
            stops.append(_stop(trigger, partial(self._any_tag, behind), after, late))
        free = self._free(stops, excludes, end, place) if name or not format.at_least_one else EMPTY_TEXT
        if name:
            self.bodies[name] = free
            free = Call(name)
        return sequence([self._any_tag(tags), after]) if format.at_least_one else free

    def _any_tag(self, tags: Iterable[_Way]) -> Node:
        """Any of some tags, without what follows them."""
        late, now = [], []
        for way in tags:
            if way.plain:
                late.append((way.begin, partial(self._tag, (), way.tag, way.place, _NO_END)))
            else:
                now.append(self._tag(way.begin, way.tag, way.place, _NO_END))
        return choice([*now, branches(late)] if late else now)

    def _dispatch(
        self, format: formats.Dispatch | formats.TokenDispatch, place: str, end: _End, avoided: tuple[str, ...]
    ) -> Node:
        if isinstance(format, formats.Dispatch):
            excludes = [*avoided, *format.excludes]
        else:
            excludes = [*avoided, *self._texts(format.exclude_tokens, place + "/exclude_tokens")]
        name = self._fresh("free") if format.loop else ""
        after = Call(name) if format.loop else end.node
        stops = []
        for number, (pattern, content) in enumerate(format.rules):
            pieces = (
                self._pieces(str(pattern))
                if isinstance(format, formats.Dispatch)
                else (self._token(pattern, f"{place}/rules/{number}/0"),)
            )
            make = partial(self.lower, content, f"{place}/rules/{number}/1", _NO_END)
            stops.append(_stop(pieces, make, after, _is_plain(content) and len(pieces) == 1))
        body = self._free(stops, excludes, end, place)
        if not name:
            return body
        self.bodies[name] = body
        return Call(name)


class _Way(NamedTuple):
    """A tag of several, whose beginning (or what is still to come of it) is `begin`.

    Attributes:
        plain: whether the tag has nothing wrong, and may wait until a text has come to it.
    """

    begin: Pieces
    tag: formats.TagFormat
    place: str
    plain: bool


def _is_plain(format: formats.Format, styles: Collection[str] = ("json",)) -> bool:
    """Whether a format has nothing wrong, and derives texts, none of them empty (in the style json)."""
    return (
        isinstance(format, formats.JsonSchema)
        and format.style in styles
        and not format.excludes
        and not (format.any_order and format.style in STYLES)
        and is_plain_object(format.json_schema)
    )


def _is_plain_tag(tag: formats.TagFormat) -> bool:
    """Whether a tag has nothing wrong, and derives texts behind its beginning, none of them empty."""
    ends = not isinstance(tag.end, str | list) or all(tag.end) and bool(tag.end)
    return _is_plain(tag.content, ("json", *STYLES) if ends else ("json",))


def _strings(format: formats.TriggeredTags | formats.TokenTriggeredTags) -> tuple[str, ...]:
    return tuple(format.triggers) if isinstance(format, formats.TriggeredTags) else ()


def _stop(pieces: Pieces, then: Callable[[], Node], after: Node = EMPTY_TEXT, late: bool = False) -> _Stop:
    """Pieces that end free text as soon as they are complete, and what follows them."""
    text = pieces[0] if isinstance(pieces[0], str) else ""
    rest = pieces[1:] if text else pieces
    return _Stop(text, partial(_after, rest, then), after, bool(rest), late and not rest)


def _after(pieces: Pieces, then: Callable[[], Node]) -> Node:
    return sequence([written(pieces), then()])


def _behind(text: str, stops: Iterable[_Stop]) -> Node:
    """What follows the first of some stops that begin with it."""
    return choice(sequence([written(_rest((stop.text,), (text,))), stop.then()]) for stop in stops)


def _beginning(free: FreeText, stop: int, place: str) -> str:
    """The stop that one begins with: itself, or one that is complete before."""
    text = free.stops[stop]
    first = [free.stops[number] for number in free.first(stop)]
    begins = [other for other in first if text.startswith(other)]
    if not begins:
        raise InvalidError(
            f"{text!r} can never be completed: it contains {first[0]!r}, which is complete before",
            pointer=place,
            hint="drop one of them",
        )
    return begins[0]


class _Beginnings:
    """Pieces, found by what begins with them: the last of them may be a part of a text."""

    def __init__(self, members: Iterable[Pieces]) -> None:
        self._whole: dict[Pieces, None] = {}
        self._lengths: dict[Pieces, set[int]] = {}  # of last texts, by the pieces before them
        for member in members:
            self.add(member)

    def add(self, member: Pieces) -> None:
        """One more."""
        self._whole[member] = None
        if isinstance(member[-1], str):
            self._lengths.setdefault(member[:-1], set()).add(len(member[-1]))

    def of(self, pieces: Pieces) -> list[Pieces]:
        """The members that some pieces begin with, shorter ones first."""
        found = []
        for at, piece in enumerate(pieces):
            before = pieces[:at]
            if isinstance(piece, str):
                ways = [
                    (*before, piece[:length])
                    for length in sorted(self._lengths.get(before, ()))
                    if length <= len(piece)
                ]
            else:
                ways = [(*before, piece)]
            found += [way for way in ways if way in self._whole]
        return found


def _rest(begin: Pieces, trigger: Pieces) -> Pieces:
    """What pieces go on with behind others that they begin with."""
    if not trigger:
        return begin
    at = len(trigger) - 1
    first, last = begin[at], trigger[at]
    if isinstance(first, str) and isinstance(last, str) and first != last:
        return (first.removeprefix(last), *begin[at + 1 :])
    return begin[at + 1 :]


def _refuse_tokens(limit: int | None, place: str) -> None:
    if limit is not None:
        raise UnsupportedError(
            "a mask follows texts: it does not count tokens", pointer=place + "/max_tokens", hint="use max_chars"
        )
