"""Made-up texts with the objects that they describe: what the embedded model learns information extraction from.

    example = Writer(seed=1).example()
    example.text      "Order 4711 was placed by Brela Tomsin and costs 29.5 euros in total. It can wait."
    example.schema    {"type": "object", "properties": {"buyer": {"type": "string"}, ...}, "required": [...], ...}
    example.answer    {"buyer": "Brela Tomsin", "urgency": "low"}

The phrasings are data (extraction.toml). Names and words are composed of syllables or letters, so that a model has to
copy them from the text and cannot know them. Two splits share the kinds of values, the names of keys, the paraphrases of
enumerated values ("cannot wait" for "high"), and the notes that name the subject again ("Back to Ada."), but no more:

    "train"   the phrasings under `say`, varied in tense, with adverbs and with words put for others that nobody knows,
              and sets of fields whose hash is not 0 modulo 8
    "held"    the phrasings under `held` for all other statements, and only sets of fields whose hash is 0 modulo 8
"""

from __future__ import annotations

import hashlib
import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Example", "Writer"]

DOMAINS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "extraction.toml").read_text())
WORDS = {
    name: text.split(", ") if ", " in text else ["" if word == "-" else word for word in text.split()]
    for name, text in DOMAINS.pop("words").items()
}
GENERIC: Mapping[str, list[str]] = DOMAINS.pop("generic")
AROUND: Mapping[str, list[str]] = DOMAINS.pop("around")
NAMING: Mapping[str, list[str]] = DOMAINS.pop("naming")
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@dataclass(frozen=True, slots=True)
class Example:
    """One text, what is asked of it and the right answer."""

    domain: str
    text: str
    schema: dict[str, Any]  # a JSON Schema: an object whose properties are all required
    answer: dict[str, Any]  # in the order of the schema


@dataclass(slots=True)
class _Value:
    """A slot's value: as JSON, and as the text says it (a mapping of parts for objects)."""

    json: Any
    words: Any


class Writer:
    """Writes examples; the same ones for the same seed and split."""

    def __init__(self, seed: int, split: str = "train") -> None:
        if split not in ("train", "held"):
            raise ValueError(f"split={split!r}: choose 'train' or 'held'")
        self._random = random.Random(f"{split} {seed}")
        self._held = split == "held"
        self._kinds: dict[str, Callable[[], _Value]] = {
            name.removeprefix("_make_"): getattr(self, name) for name in dir(self) if name.startswith("_make_")
        }

    # The whole

    def example(self) -> Example:
        """A text of one domain, a schema with 2 to 8 of the fields that it states (or leaves out), and the object."""
        rng = self._random
        name = rng.choice(list(DOMAINS))
        domain = DOMAINS[name]
        slots, naming = domain["slots"], domain["names"]
        keys = self._fields(name, slots)
        others = [slot for slot in slots if slot not in keys and slot != naming and slot not in ("items", "lines")]
        silent = {slot for slot in keys if slot != naming and rng.random() < 0.05}
        spoken = [slot for slot in keys if slot not in silent and slot != naming]
        spoken += rng.sample(others, min(len(others), rng.choice((0, 0, 1, 2))))
        values = {slot: self._value(slots[slot]) for slot in dict.fromkeys((*spoken, naming, *keys))}
        text = self._text(domain, spoken, values)
        properties, answer = {}, {}
        for slot, key in keys.items():
            schema = self._schema(slots[slot])
            if slot in silent or rng.random() < 0.06:
                schema = _nullable(schema)
            properties[key] = schema
            answer[key] = None if slot in silent else values[slot].json
        return Example(
            name,
            text,
            {"type": "object", "properties": properties, "required": list(answer), "additionalProperties": False},
            answer,
        )

    def _fields(self, domain: str, slots: Mapping[str, Any]) -> dict[str, str]:
        """Slots in random order with the keys that the schema calls them by; a set of this split."""
        rng = self._random
        while True:
            chosen = rng.sample(list(slots), min(len(slots), rng.choice((2, 3, 3, 4, 4, 5, 5, 6, 7, 8))))
            digest = hashlib.sha256(" ".join((domain, *sorted(chosen))).encode()).digest()
            if (digest[0] % 8 == 0) is not self._held:
                continue
            keys = {slot: rng.choice(slots[slot]["keys"]) for slot in chosen}
            if len(set(keys.values())) == len(keys) and not {"items", "lines"} <= keys.keys():  # two lists of products
                return keys

    # Text

    def _text(self, domain: Mapping[str, Any], spoken: list[str], values: Mapping[str, _Value]) -> str:
        rng = self._random
        rng.shuffle(spoken)
        words = values[domain["names"]].words
        subject = self._naming(domain, "subjects", ["{}"]).replace("{}", words)
        pronoun = rng.choice(domain["pronouns"])
        statements = [self._statement(domain["slots"][slot], values[slot]) for slot in spoken]
        sentences: list[str] = []
        fresh = True  # whether the next sentence has to name its subject
        named = False
        while statements:
            if rng.random() < 0.3:
                sentence, about_another = self._distraction(domain, pronoun if named and not fresh else None, subject)
                sentences.append(sentence)
                fresh = fresh or about_another
            who = subject if fresh or rng.random() < 0.3 else pronoun
            statement = statements.pop(0)
            if _is_sentence(statement):
                if fresh and "{P}" not in statement and "{S}" not in statement:
                    # A bare note ("Age: 30.") is about the subject only if that has just been named.
                    sentences.append(self._again(subject) if named else self._opening(subject))
                sentence = _fill_subject(statement, who, pronoun)
            else:
                verbs = [statement]
                while statements and len(verbs) < 3 and rng.random() < 0.4 and not _is_sentence(statements[0]):
                    verbs.append(statements.pop(0))
                sentence = f"{who} {_join(verbs)}."
            sentences.append(_capital(sentence))
            fresh, named = False, True
        if not named:
            sentences.append(self._opening(subject))
        if rng.random() < 0.2:
            sentences.append(rng.choice(self._pick(domain, "fillers")))
        return " ".join(sentences)

    def _opening(self, subject: str) -> str:
        lower = _uncapital(subject)
        return _capital(
            self._random.choice((f"This is about {lower}.", f"{subject}.", f"{subject}:", f"Here is {lower}."))
        )

    def _again(self, subject: str) -> str:
        lower = _uncapital(subject)
        return self._random.choice((f"Back to {lower}.", f"As for {lower}:", f"Now {lower} again."))

    def _statement(self, slot: Mapping[str, Any], value: _Value) -> str:
        """A phrasing of the slot with its value filled in; {S}, {P}, {s} and {p} are left."""
        rng = self._random
        if slot["kind"] == "boolean":
            answer = "yes" if value.json else "no"
            phrasing = rng.choice(self._pick(slot, answer))
            return phrasing if self._held else self._around(phrasing, slot[f"held_{answer}"], tense=False)
        paraphrases = slot.get("paraphrase", {}).get(value.json) if slot["kind"] == "enum" else None
        if paraphrases and rng.random() < 0.2:  # these cannot be guessed from others: both splits have them
            return rng.choice(paraphrases)
        phrasing = self._phrasing(slot)
        if isinstance(value.words, dict):
            return phrasing.format_map({**value.words, "S": "{S}", "P": "{P}", "s": "{s}", "p": "{p}"})
        article = "an" if value.words[:1] in "aeiou" else "a"
        return phrasing.replace("{a}", f"{article} {value.words}").replace("{}", value.words)

    def _phrasing(self, slot: Mapping[str, Any]) -> str:
        """One of the slot's own, or a generic one by its noun; in training with changes (`_around`)."""
        rng = self._random
        if slot["kind"] in ("object", "records") or rng.random() < 0.65:
            phrasing = rng.choice(self._pick(slot, "say"))
        else:
            form = (
                ("held_list" if self._held else "list") if slot["kind"] == "list" else ("held" if self._held else "say")
            )
            nouns = [key.replace("_", " ") for key in slot["keys"] if key not in GENERIC["not_nouns"]]
            phrasing = rng.choice(GENERIC[form]).replace("{noun}", rng.choice(nouns))
        return phrasing if self._held else self._around(phrasing, slot.get("held", ()))

    def _around(self, phrasing: str, held: Sequence[str], tense: bool = True) -> str:
        """Another tense, an adverb, something before or behind, or nothing; never a phrasing that is held."""
        rng, changed = self._random, phrasing
        if not _is_sentence(phrasing):
            if tense and rng.random() < 0.3:
                changed = self._other_tense(changed)
            if rng.random() < 0.15:
                adverb = rng.choice(AROUND["adverbs"]) if rng.random() < 0.6 else f"{self._word(2)}ly"
                changed = f"{adverb} {changed}"
            if rng.random() < 0.15:
                changed = f"{changed} {rng.choice(AROUND['tails'])}"
        elif rng.random() < 0.1:
            changed = f"{rng.choice(AROUND['heads'])} {changed}"
        if tense and rng.random() < 0.25:
            changed = self._unknown(changed)
        return phrasing if changed in held else changed

    def _unknown(self, phrasing: str) -> str:
        """With a word made up in place of one of its own, so that a word never seen before is no riddle."""
        rng = self._random
        words = phrasing.split(" ")
        own = [place for place, word in enumerate(words) if word.isalpha() and len(word) > 2]
        if own:
            place = rng.choice(own)
            made_up = self._word(rng.choice((1, 2)))
            words[place] = made_up.capitalize() if words[place][0].isupper() else made_up
        return " ".join(words)

    def _other_tense(self, phrase: str) -> str:
        verb, _, rest = phrase.partition(" ")
        if verb in ("is", "was", "has"):
            return f"{self._random.choice(AROUND[verb])} {rest}"
        if not verb.endswith("s"):
            return phrase
        stem = verb[:-2] if verb.endswith(("oes", "shes", "ches", "sses", "xes")) else verb[:-1]
        stem = f"{verb[:-3]}y" if verb.endswith("ies") and len(verb) > 4 else stem
        return f"{self._random.choice(AROUND['other'])} {stem} {rest}"

    def _distraction(self, domain: Mapping[str, Any], pronoun: str | None, subject: str) -> tuple[str, bool]:
        """A sentence that states nothing about the subject, and whether it is about another one."""
        rng = self._random
        if rng.random() < 0.4:
            return rng.choice(self._pick(domain, "fillers")), False
        other = self._naming(domain, "others")
        if not self._held and rng.random() < 0.2:
            other = self._unknown(other)
        other = other.replace("{}", self._value(domain["slots"][domain["names"]]).words)
        while True:
            slot = domain["slots"][rng.choice([name for name in domain["slots"] if name != domain["names"]])]
            statement = self._statement(slot, self._value(slot))
            if not _is_sentence(statement):
                break
        return _capital(f"{_fill_subject(other, subject, pronoun)} {statement}."), True

    def _naming(self, domain: Mapping[str, Any], role: str, default: list[str] | None = None) -> str:
        """How the subject of a text ("subjects") or another one ("others") is called; {} is its name.

        In training often composed of an adjective and a noun; never a way that is held.
        """
        rng = self._random
        composed = None if self._held else domain.get("naming")
        while composed is not None and rng.random() < 0.6:
            adjective = rng.choice(NAMING[role.removesuffix("s")])
            naming = (
                rng.choice(composed[role]).replace("{adj}", adjective).replace("{noun}", rng.choice(composed["nouns"]))
            )
            naming = _capital(naming.replace("A ", "An ", 1) if naming.startswith(("A e", "A o")) else naming)
            if naming not in domain[f"held_{role}"]:
                return naming
        return rng.choice(self._pick(domain, role, default))

    def _pick(self, of: Mapping[str, Any], name: str, default: list[str] | None = None) -> list[str]:
        """The phrasings of this split."""
        held = {"say": "held"}.get(name, f"held_{name}")
        return of[held] if self._held and held in of else of.get(name, default)

    # Values

    def _value(self, slot: Mapping[str, Any]) -> _Value:
        kind = slot["kind"]
        rng = self._random
        if kind == "integer":
            return self._integer(*slot["range"])
        if kind == "decimal":
            return self._decimal(*slot["range"], slot["digits"])
        if kind == "boolean":
            return _Value(rng.random() < 0.5, "")
        if kind == "enum":
            chosen = rng.choice(slot["values"])
            return _Value(chosen, chosen)
        if kind == "list":
            items = [self._kinds[slot["of"]]() for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]
            return _Value([item.json for item in items], _enumerate([item.words for item in items]))
        if kind == "object":
            parts = {key: self._kinds[of]() for key, of in slot["parts"].items()}
            return _Value(
                {key: part.json for key, part in parts.items()}, {key: part.words for key, part in parts.items()}
            )
        if kind == "records":
            phrasing = rng.choice(slot["held_record" if self._held else "record"])
            records = [
                {key: self._kinds[of]() for key, of in slot["parts"].items()} for _ in range(rng.choice((1, 2, 2, 3)))
            ]
            return _Value(
                [{key: part.json for key, part in record.items()} for record in records],
                _enumerate([phrasing.format_map({key: part.words for key, part in r.items()}) for r in records]),
            )
        return self._kinds[kind]()

    def _schema(self, slot: Mapping[str, Any]) -> dict[str, Any]:
        kind = slot["kind"]
        if kind == "enum":
            values = list(slot["values"])
            self._random.shuffle(values)
            return {"enum": values}
        if kind == "list":
            return {"type": "array", "items": {"type": _type_of(slot["of"])}}
        if kind in ("object", "records"):
            parts = {
                "type": "object",
                "properties": {key: {"type": _type_of(of)} for key, of in slot["parts"].items()},
                "required": list(slot["parts"]),
                "additionalProperties": False,
            }
            return parts if kind == "object" else {"type": "array", "items": parts}
        return {"type": _type_of(kind)}

    def _integer(self, low: int, high: int) -> _Value:
        number = self._random.randint(low, high)
        spell = number < len(_NUMBERS) and self._random.random() < 0.3
        return _Value(number, _NUMBERS[number] if spell else str(number))

    def _decimal(self, low: int, high: int, digits: int) -> _Value:
        number = round(self._random.uniform(low, high), digits)
        return _Value(int(number), str(int(number))) if number == int(number) else _Value(number, repr(number))

    def _word(self, syllables: int) -> str:
        rng = self._random
        return "".join(
            rng.choice(WORDS["onsets"]) + rng.choice(WORDS["vowels"]) + rng.choice(WORDS["codas"])
            for _ in range(syllables)
        )

    def _name(self, known: list[str], share: float) -> str:
        """One of `known` now and then; else composed of syllables, letters, and seldom with an accent."""
        rng = self._random
        if rng.random() < share:
            return rng.choice(known)
        if rng.random() < 0.1:
            word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 8)))
        else:
            word = self._word(rng.choice((1, 2, 2, 2, 3)))
        if rng.random() < 0.05:
            word = word.translate(str.maketrans("aeioun", rng.choice(("áéíóúñ", "äéïöüń", "àèîôùn"))))
        return word.capitalize()

    def _text_value(self, text: str) -> _Value:
        return _Value(text, text)

    def _make_person_name(self) -> _Value:
        first, last = self._name(WORDS["first_names"], 0.4), self._name(WORDS["last_names"], 0.3)
        return self._text_value(f"{first} {last}" if self._random.random() < 0.85 else first)

    def _make_place(self) -> _Value:
        name = self._name(WORDS["cities"], 0.3)
        return self._text_value(
            f"{self._random.choice(('New', 'Port', 'San', 'Bad'))} {name}" if self._random.random() < 0.08 else name
        )

    def _make_company(self) -> _Value:
        name = self._name(WORDS["last_names"], 0.1)
        return self._text_value(
            f"{name} {self._random.choice(WORDS['companies'])}" if self._random.random() < 0.7 else name
        )

    def _make_shop(self) -> _Value:
        return self._text_value(f"{self._name(WORDS['last_names'], 0.1)} {self._random.choice(WORDS['shops'])}")

    def _make_event_title(self) -> _Value:
        return self._text_value(f"{self._name(WORDS['cities'], 0.2)} {self._random.choice(WORDS['events'])}")

    def _make_job(self) -> _Value:
        return self._text_value(
            self._random.choice(WORDS["jobs"]) if self._random.random() < 0.8 else f"{self._word(2)}er"
        )

    def _make_product(self) -> _Value:
        rng = self._random
        noun = rng.choice(WORDS["nouns"]) if rng.random() < 0.8 else self._word(2)
        return self._text_value(f"{rng.choice(WORDS['adjectives'])} {noun}" if rng.random() < 0.8 else noun)

    def _make_language(self) -> _Value:
        return self._text_value(self._name(WORDS["languages"], 0.8))

    def _make_room(self) -> _Value:
        rng = self._random
        return self._text_value(rng.choice(WORDS["rooms"]) if rng.random() < 0.8 else f"{self._word(2)} room")

    def _make_quality(self) -> _Value:
        return self._text_value(
            self._random.choice(WORDS["qualities"]) if self._random.random() < 0.8 else f"the {self._word(2)}"
        )

    def _make_country(self) -> _Value:
        return self._text_value(self._name(WORDS["countries"], 0.8))

    def _make_street(self) -> _Value:
        rng = self._random
        return self._text_value(
            f"{rng.randint(1, 220)} {self._name(WORDS['last_names'], 0.2)} {rng.choice(WORDS['streets'])}"
        )

    def _make_zip(self) -> _Value:
        rng = self._random
        return self._text_value(
            f"{rng.randint(10000, 99999)}"
            if rng.random() < 0.7
            else f"{self._code(2)}{rng.randint(1, 9)} {rng.randint(1, 9)}{self._code(2)}"
        )

    def _make_phone(self) -> _Value:
        rng = self._random
        number = "".join(rng.choice("0123456789") for _ in range(7))
        shapes = (
            f"555-{number[:4]}",
            f"+{number[:2]} {number[2:]}",
            f"0{number[:3]} {number[3:]}",
            f"{number[:3]}-{number[3:]}",
        )
        return self._text_value(rng.choice(shapes))

    def _make_email(self) -> _Value:
        rng = self._random
        user = self._name(WORDS["first_names"], 0.4).lower()
        if rng.random() < 0.5:
            user += rng.choice((".", "_", "")) + self._name(WORDS["last_names"], 0.3).lower()
        ascii_user = user.encode("ascii", "ignore").decode() or "info"
        return self._text_value(
            f"{ascii_user}@{self._word(rng.choice((1, 2)))}.{rng.choice(('com', 'org', 'net', 'io', 'eu'))}"
        )

    def _make_code(self) -> _Value:
        rng = self._random
        return self._text_value(f"{self._code(rng.choice((1, 2, 3)))}-{rng.randint(1, 999)}")

    def _make_time(self) -> _Value:
        return self._text_value(f"{self._random.randint(0, 23):02}:{self._random.randint(0, 59):02}")

    def _make_date(self) -> _Value:
        rng = self._random
        year, month, day = rng.randint(1990, 2035), rng.randint(1, 12), rng.randint(1, 28)
        iso = f"{year}-{month:02}-{day:02}"
        return _Value(iso, iso if rng.random() < 0.75 else f"{day} {_MONTHS[month - 1]} {year}")

    def _make_quantity(self) -> _Value:
        number = self._random.randint(1, 40)
        return _Value(number, str(number))

    def _make_small_decimal(self) -> _Value:
        return self._decimal(0, 50, 1)

    def _make_latitude(self) -> _Value:
        return self._decimal(-90, 90, 2)

    def _make_longitude(self) -> _Value:
        return self._decimal(-180, 180, 2)

    def _code(self, letters: int) -> str:
        return "".join(self._random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(letters))


def _type_of(kind: str) -> str:
    return {
        "integer": "integer",
        "quantity": "integer",
        "decimal": "number",
        "small_decimal": "number",
        "latitude": "number",
        "longitude": "number",
        "boolean": "boolean",
    }.get(kind, "string")


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def _is_sentence(statement: str) -> bool:
    return statement.endswith(".")


def _fill_subject(text: str, subject: str, pronoun: str | None) -> str:
    """{S} and {P}: subject and its possessive; {s} and {p}: always the pronoun's."""
    possessives = {"he": "his", "she": "her", "it": "its"}
    whose = possessives.get(subject, f"{subject}'s")
    if pronoun is not None:
        text = text.replace("{s}", pronoun).replace("{p}", possessives[pronoun])
        whose = possessives.get(subject, whose)
    return text.replace("{S}", subject).replace("{P}", whose)


def _enumerate(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


_join = _enumerate


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _uncapital(text: str) -> str:
    return text[:1].lower() + text[1:] if text.startswith(("The ", "Our ", "This ")) else text
