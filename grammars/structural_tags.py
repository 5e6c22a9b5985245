"""Structural tags: free text with regions that have a grammar of their own, as rules.

    read = structural_tag({"type": "structural_tag", "format": {"type": "triggered_tags", ...}})

    free ::= text | text-up-to-"<function=" ("a>" %json {...} "</function>" | "b>" ...) free

Free text is a regular language (free_text.py): it goes on until one of its *stops* is complete, and then what the stop
stands for must follow (stops.py). A trigger is a stop, behind it come the ends of its tags' beginnings, their contents, and
free text again; the end of the tag around it is a stop, too. So a format is lowered together with the end that follows it.
Strings are cut at the names of special tokens (pieces.py), and plain tags are looked at when a text comes to them
(plain_tags.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from maskwright.grammars import regular
from maskwright.grammars import structural_tag_formats as formats
from maskwright.grammars.branches import branches
from maskwright.grammars.errors import GrammarError, InvalidError, UnsupportedError
from maskwright.grammars.free_text import FreeText
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.pieces import Beginnings, Cutter, Pieces, Vocabulary, rest, written
from maskwright.grammars.plain_tags import PlainJson, PlainTag
from maskwright.grammars.rule_nodes import EMPTY_TEXT, choice, loop, renamed, sequence
from maskwright.grammars.rules import Call, Json, Node, Rules, Text
from maskwright.grammars.stops import NO_END, End, free_text, stop
from maskwright.grammars.xml_parameters import STYLES, xml_parameters

__all__ = ["structural_tag"]

Way = tuple[Pieces, int]  # what is still to come of a tag's beginning, and the number of the tag


def structural_tag(description: Any, options: SchemaOptions, vocabulary: Vocabulary | None = None) -> Rules:
    """The rules of a structural tag.

    Args:
        description: a dict or its JSON text (structural_tag_formats.py). Later changes to it have no effect.
        options: the text policy of the schemas inside.
        vocabulary: tells which parts of strings are special tokens, and what tokens write; None: strings are texts, and
            tokens are special.

    Raises:
        GrammarError: InvalidError or UnsupportedError, with the JSON Pointer of the place. Schemas are checked later.
    """
    read = formats.read_structural_tag(description)
    lowering = _Lowering(read, options, vocabulary)
    lowering.bodies["root"] = EMPTY_TEXT  # the first of the rules
    lowering.bodies["root"] = lowering.lower(read.format, "" if read.older else "/format", NO_END)
    return Rules(lowering.bodies, "root")


class _Lowering:
    """Makes the rules of one description."""

    def __init__(self, read: formats.ReadTag, options: SchemaOptions, vocabulary: Vocabulary | None) -> None:
        self._read, self._options = read, options
        self._tags = "structures" if read.older else "tags"
        self._cut = Cutter(vocabulary)
        # Styles of plain contents that may wait: parameters as tags may be empty, and come in the order of the schema.
        self._late_alone = {"json"} if read.lazy else set()
        self._late = self._late_alone.union(STYLES if read.lazy and options.property_order == "schema" else ())
        self.bodies: dict[str, Node] = {}
        self._schemas: dict[tuple[int, SchemaOptions, str], Node] = {}

    # -------------------------------------------------------------------- formats

    def lower(self, format: formats.Content, place: str, end: End, avoided: tuple[str, ...] = ()) -> Node:
        """The texts of a format, the end included.

        Args:
            format: what stands at `place`, a JSON Pointer.
            end: what follows the format; free text goes on up to the first of them.
            avoided: strings that free text inside does not contain: what comes after more of the same.
        """
        match format:
            case formats.ConstString():
                return sequence([written(self._cut.pieces(format.value)), end.node])
            case formats.Token():
                return sequence([written((self._cut.token(format.token, place + "/token"),)), end.node])
            case PlainJson() | formats.JsonSchema() | formats.QwenXmlParameter():
                return sequence([self._schema(format, place), end.node])
            case formats.EbnfGrammar():
                return sequence([self._embedded(place + "/grammar", Grammar.from_ebnf, format.grammar), end.node])
            case formats.RegexPattern():
                return sequence([self._embedded(place + "/pattern", Grammar.from_regex, format.pattern), end.node])
            case formats.AnyText():
                return self._any_text(format, place, end, avoided)
            case formats.AnyTokens():
                _refuse_tokens(format.max_tokens, place)
                return free_text((), [*avoided, *self._cut.texts(format.exclude_tokens, place)], end, place)
            case formats.ExcludeToken():
                raise UnsupportedError(
                    "a mask follows texts: where one token ends cannot be told from them",
                    pointer=place,
                    hint="use any_tokens, or a regex for the text of the token",
                )
            case formats.SequenceOf():
                *first, last = format.elements
                parts = [
                    self.lower(element, f"{place}/elements/{number}", NO_END) for number, element in enumerate(first)
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
        self, content: formats.Content, place: str, end: End, avoided: tuple[str, ...], low: int, high: int | None
    ) -> Node:
        inside = self.lower(content, place + "/content", NO_END, (*avoided, *end.texts))
        return sequence([loop(inside, low, high), end.node])

    def _any_text(self, format: formats.AnyText, place: str, end: End, avoided: tuple[str, ...]) -> Node:
        _refuse_tokens(format.max_tokens, place)
        excludes = [*avoided, *format.excludes]
        if format.max_chars is None:
            return free_text((), excludes, end, place)
        bound = regular.repeat(regular.ANY_CHAR, 0, format.max_chars)
        before = regular.intersect(FreeText((), [*filter(None, excludes), *end.texts]).without(), bound)
        return sequence([Text(before), end.node])

    def _schema(self, format: PlainJson | formats.JsonSchema | formats.QwenXmlParameter, place: str) -> Node:
        options, style = self._options, "qwen_xml"
        schema: Any
        if isinstance(format, PlainJson):
            schema = self._read.glances.schemas[format.number]
        else:
            schema = format.json_schema
        if not isinstance(format, formats.QwenXmlParameter):
            style = format.style
            if format.any_order:
                options = replace(options, property_order="any")
            if format.max_whitespace_cnt is not None:
                options = replace(options, max_whitespace=min(format.max_whitespace_cnt, options.max_whitespace))
        if isinstance(format, formats.JsonSchema) and format.excludes:
            raise UnsupportedError(
                "strings of a schema cannot be kept from containing some text",
                pointer=place + "/excludes",
                hint='say it in the schema: "not": {"pattern": ...}',
            )
        key = (id(schema), options, style)
        found = self._schemas.get(key)
        if found is None:
            pointer = f"{place.removesuffix('/content')}/schema" if self._read.older else place + "/json_schema"
            if style == "json":
                found = Json(schema, options, pointer)
            elif style in STYLES:
                found = xml_parameters(schema, options, STYLES[style], pointer)
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

    def _mark(self, written: str | formats.Token, place: str) -> Pieces:
        if isinstance(written, str):
            return self._cut.pieces(written)
        return (self._cut.token(written.token, place + "/token"),)

    def _begins(self, tags: Sequence[formats.AnyTag], place: str) -> list[Pieces]:
        begins = [tag.begin for tag in tags]
        texts = [begin for begin in begins if isinstance(begin, str)]
        if len(texts) == len(begins):
            return self._cut.all_pieces(texts)
        return [self._mark(begin, f"{place}/{self._tags}/{number}/begin") for number, begin in enumerate(begins)]

    def _tag(self, begin: Pieces, tag: formats.AnyTag, place: str, after: End) -> Node:
        """A tag, of whose beginning `begin` is still to come, and what follows it."""
        endings = [tag.end] if isinstance(tag.end, str | formats.Token) else tag.end
        ways = [self._mark(one, place + "/end") for one in endings]
        content, inside = place + "/content", tuple(dict.fromkeys(way for way in ways if way))
        parts: list[Node] = []
        if inside:
            parts.append(sequence([self.lower(tag.content, content, End.of(inside)), after.node]))
        if len(inside) < len(ways):  # one of them is empty: the tag ends where its content does
            parts.append(self.lower(tag.content, content, after))
        return sequence([written(begin), choice(parts)])

    def _tag_may_wait(self, tag: formats.AnyTag) -> bool:
        if type(tag) is PlainTag:  # most are
            return tag.content.style in (self._late if tag.end else self._late_alone)
        return self._may_wait(tag.content, bool(tag.end) and (not isinstance(tag.end, list) or all(tag.end)))

    def _may_wait(self, content: formats.Content, ends: bool) -> bool:
        """Whether a format can be lowered, and derives texts, when nobody has looked at it; `ends`: and more behind it."""
        return isinstance(content, PlainJson) and content.style in (self._late if ends else self._late_alone)

    def _any_tag(self, tags: Sequence[formats.AnyTag], ways: Iterable[Way], place: str) -> Node:
        """Any of some tags, without what follows them."""

        def make(number: int, begin: Pieces = ()) -> Node:
            return self._tag(begin, tags[number], f"{place}/{self._tags}/{number}", NO_END)

        late: list[Way] = []
        found: list[Node] = []
        for begin, number in ways:
            if self._tag_may_wait(tags[number]):
                late.append((begin, number))
            else:
                found.append(make(number, begin))
        return choice([*found, branches(late, make)] if late else found)

    def _separated(self, format: formats.TagsWithSeparator, place: str, end: End) -> Node:
        begins = self._begins(format.tags, place)
        tags = self._any_tag(format.tags, zip(begins, range(len(begins)), strict=True), place)
        if format.stop_after_first:
            found = sequence([tags, end.node])
        else:
            name = self._fresh("tags")
            more = sequence([written(self._cut.pieces(format.separator)), Call(name)])
            self.bodies[name] = sequence([tags, choice([end.node, more])])
            found = Call(name)
        return found if format.at_least_one else choice([end.node, found])

    def _triggered(
        self,
        format: formats.TriggeredTags | formats.TokenTriggeredTags,
        place: str,
        end: End,
        avoided: tuple[str, ...],
    ) -> Node:
        strings: tuple[str, ...] = ()
        if isinstance(format, formats.TriggeredTags):
            strings = tuple(format.triggers)
            triggers = [self._cut.pieces(trigger) for trigger in strings]
            excludes = [*avoided, *format.excludes]
        else:
            marks = enumerate(format.trigger_tokens)
            triggers = [(self._cut.token(token, f"{place}/trigger_tokens/{number}"),) for number, token in marks]
            excludes = [*avoided, *self._cut.texts(format.exclude_tokens, place + "/exclude_tokens")]
        tags, begins = format.tags, self._begins(format.tags, place)
        beginnings = Beginnings(triggers)
        leading = [beginnings.of(begin) for begin in begins]
        if not all(leading):
            for number, begin in enumerate(begins):
                whole = tags[number].begin
                if leading[number]:
                    continue
                if not isinstance(whole, str) or not whole.startswith(strings):
                    raise InvalidError(
                        "the tag begins with none of the triggers, so nothing leads to it",
                        pointer=f"{place}/{self._tags}/{number}/begin",
                        hint="add a trigger that it begins with",
                    )
                triggers.append(begin)  # the trigger ends inside the name of a special token
            beginnings = Beginnings(triggers)
            leading = [beginnings.of(begin) for begin in begins]
        groups: dict[Pieces, list[Way]] = {
            trigger: [] for trigger in dict.fromkeys(triggers) if beginnings.of(trigger) == [trigger]
        }
        for number, begin in enumerate(begins):
            for trigger in leading[number]:
                if trigger in groups:
                    groups[trigger].append((rest(begin, trigger), number))
        name = "" if format.stop_after_first else self._fresh("free")
        after = end.node if format.stop_after_first else Call(name)
        stops = []
        for trigger, behind in groups.items():
            late = len(trigger) == 1 and bool(behind) and all(self._tag_may_wait(tags[at]) for _, at in behind)
            stops.append(stop(trigger, partial(self._any_tag, tags, behind, place), after, late))
        free = free_text(stops, excludes, end, place) if name or not format.at_least_one else EMPTY_TEXT
        if name:
            self.bodies[name] = free
            free = Call(name)
        if format.at_least_one:
            return sequence([self._any_tag(tags, zip(begins, range(len(begins)), strict=True), place), after])
        return free

    def _dispatch(
        self, format: formats.Dispatch | formats.TokenDispatch, place: str, end: End, avoided: tuple[str, ...]
    ) -> Node:
        if isinstance(format, formats.Dispatch):
            excludes = [*avoided, *format.excludes]
        else:
            excludes = [*avoided, *self._cut.texts(format.exclude_tokens, place + "/exclude_tokens")]
        name = self._fresh("free") if format.loop else ""
        after = Call(name) if format.loop else end.node
        stops = []
        for number, (pattern, content) in enumerate(format.rules):
            pieces = (
                self._cut.pieces(str(pattern))
                if isinstance(format, formats.Dispatch)
                else (self._cut.token(pattern, f"{place}/rules/{number}/0"),)
            )
            make = partial(self.lower, content, f"{place}/rules/{number}/1", NO_END)
            stops.append(stop(pieces, make, after, len(pieces) == 1 and self._may_wait(content, ends=False)))
        body = free_text(stops, excludes, end, place)
        if not name:
            return body
        self.bodies[name] = body
        return Call(name)


def _refuse_tokens(limit: int | None, place: str) -> None:
    if limit is not None:
        raise UnsupportedError(
            "a mask follows texts: it does not count tokens", pointer=place + "/max_tokens", hint="use max_chars"
        )
