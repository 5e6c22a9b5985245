"""Streaming and asyncio: what the chunks hold, and what is left when nobody wants them any more."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import gc
import json
import time
import weakref
from typing import TYPE_CHECKING, Any, Literal

import pydantic
import pytest
from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import TypedDict

from maskwright import StreamChunk, TruncatedError, agenerate, generate
from maskwright.answers import Meaning
from maskwright.partial import grower

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(TypedDict):
    city: str
    zip: int


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    weight: float = 1.0


class Square(BaseModel):
    kind: Literal["square"]
    side: int


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: int


class Person(BaseModel):
    name: str = Field(alias="fullName", max_length=12)
    born: datetime.date | None = None
    colour: Colour = Colour.RED
    place: Place | None = None
    parts: list[Part] = []
    friends: list[Person] = Field(default=[], max_length=1)
    figure: Square | Circle = Field(default=Square(kind="square", side=1), discriminator="kind")
    either: Part | Square | int = 0


class Sorter(Person):
    odds: set[int] = set()
    pair: tuple[int, str] | None = None


def test_a_partial_instance_grows_by_type() -> None:
    grow = grower(Person)
    assert grow("") is None
    assert grow(" ") is None
    person = grow('{"fullName": "Ad')
    assert isinstance(person, Person)
    assert (person.name, person.born, person.parts) == ("Ad", None, [])
    assert person.model_fields_set == {"name"}
    assert grow('{"fullName": "Ada", "born": "1815-12').born == "1815-12"
    assert grow('{"fullName": "Ada", "born": "1815-12-10"').born == datetime.date(1815, 12, 10)
    assert grow('{"colour": "bl').colour == "bl"
    assert grow('{"colour": "blue"').colour is Colour.BLUE
    assert grow('{"place": {"city": "London", "zi').place == {"city": "London"}
    assert grow('{"parts": [{"name": "wheel", "weight": 2.5}, {"na').parts[:1] == [Part("wheel", 2.5)]
    last = grow('{"parts": [{"name": "wheel", "weight": 2.5}, {"na').parts[1]
    assert isinstance(last, Part)
    assert (last.name, last.weight) == (None, 1.0)
    friend = grow('{"friends": [{"fullName": "Bo", "friends": [{').friends[0]
    assert isinstance(friend, Person)
    assert isinstance(friend.friends[0], Person)
    assert friend.friends[0].name is None
    assert grow('{"figure": {"kind": "cir').figure == {"kind": "cir"}
    figure = grow('{"figure": {"kind": "circle", "rad').figure
    assert isinstance(figure, Circle)
    assert isinstance(grow('{"either": {"side": 3').either, Square)
    assert isinstance(grow('{"either": {"name": "x').either, Part)
    assert grow('{"either": 3').either == 3
    sorter = grower(Sorter)('{"odds": [1, 3], "pair": [1')
    assert (sorter.odds, sorter.pair) == ({1, 3}, [1])


@pytest.mark.parametrize(
    "source", [Person, TypeAdapter(Person), list[Person], Person | None, pydantic.RootModel[Person]]
)
def test_every_prefix_has_a_partial_and_the_whole_is_the_value(source: Any) -> None:
    person = {
        "fullName": 'A "q" é \U0001f600\n',
        "born": "1815-12-10",
        "colour": "blue",
        "place": {"city": "London", "zip": 12},
        "parts": [{"name": "x"}, {"name": "y", "weight": 0.5}],
        "friends": [{"fullName": "B", "parts": []}],
        "figure": {"kind": "circle", "radius": 3},
        "either": {"kind": "square", "side": 2},
    }
    text = json.dumps([person] if source == list[Person] else person)
    adapter = source if isinstance(source, TypeAdapter) else TypeAdapter(source)
    grow = grower(source)
    for end in range(len(text)):
        grow(text[:end])
    assert grow(text) == adapter.validate_json(text)


def test_plain_json_grows_as_it_is() -> None:
    grow = grower(None)
    growth = [grow(text) for text in ("", "[", '["a', '["a\\u00', '["a", tr', '["a", true, {"b": 1', "[1.")]
    assert growth == [None, [], ["a"], ["a"], ["a"], ["a", True, {"b": 1}], []]


def test_integers_with_an_exponent_are_integers() -> None:
    """To JSON Schema and to the mask; pydantic reads them as floats."""
    meaning = Meaning(True, dict[str, int | str], 0.0)
    assert meaning.value('{"a": -8e+20, "b": "x 1e+20"}') == {"a": -8 * 10**20, "b": "x 1e+20"}
    assert Meaning(True, list[float], 0.0).value("[1.5e+16, 2.5, 1e-07]") == [1.5e16, 2.5, 1e-07]


@pytest.fixture(scope="module")
def ask(tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> Any:
    def call(prompt: Any = "An order:", *, make: Any = generate, **options: Any) -> Any:
        return make(tiny_model, prompt, **{"tokenizer": tiny_tokenizer, "max_new_tokens": 300, **options})

    return call


def test_chunks_add_up_to_the_answer(ask: Any) -> None:
    options = {"schema": Person, "temperature": 1.0, "seed": 2}
    chunks: list[StreamChunk] = list(ask(stream=True, **options))
    whole = ask(return_result=True, **options)
    assert "".join(chunk.delta for chunk in chunks) == chunks[-1].text == whole.text
    for before, chunk in zip([None, *chunks], chunks, strict=False):
        assert chunk.text == (before.text if before else "") + chunk.delta
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].value == chunks[-1].partial == whole.value
    assert chunks[-1].result.tokens == whole.tokens
    assert all(isinstance(chunk.partial, Person) for chunk in chunks[1:])
    assert all(chunk.value is None and chunk.result is None for chunk in chunks[:-1])


def test_no_delta_is_half_a_character(ask: Any) -> None:
    """The vocabulary writes these characters byte by byte."""
    chunks = list(ask(regex="[é€😀]{6}", stream=True, temperature=1.0, seed=1))
    assert len(chunks) > 8
    assert any(chunk.delta == "" for chunk in chunks)
    assert set("".join(chunk.delta for chunk in chunks)) <= set("é€😀")
    assert all(chunk.partial == chunk.text for chunk in chunks)


def test_the_chunks_of_a_batch_say_whose_they_are(ask: Any) -> None:
    texts: dict[tuple[int, int], str] = {}
    options = {"regex": "[a-z]{2,9}", "n": 2, "temperature": 1.0, "seed": 5}
    for chunk in ask(["a", "bcd"], stream=True, **options):
        place = chunk.prompt, chunk.sample
        texts[place] = texts.get(place, "") + chunk.delta
        assert texts[place] == chunk.text
    answers = ask(["a", "bcd"], **options)
    assert texts == {(i, j): answers[i][j] for i in range(2) for j in range(2)}


def test_errors_come_before_the_first_chunk(ask: Any) -> None:
    with pytest.raises(TruncatedError):
        ask(regex="[b-d]{40}", max_new_tokens=4, stream=True)
    with pytest.raises(ValueError, match="n=0"):
        ask(regex="a", n=0, stream=True)


def test_closing_early_frees_the_cache(ask: Any) -> None:
    chunks = ask(regex="[a-z]{200}", stream=True)
    next(chunks)
    decoder = weakref.ref(chunks.gi_frame.f_locals["decoder"])
    cache = weakref.ref(decoder()._model._cache)
    assert cache() is not None
    chunks.close()
    gc.collect()
    assert decoder() is None
    assert cache() is None


def test_agenerate_is_awaited_for_what_generate_returns(ask: Any) -> None:
    async def work() -> Any:
        return await asyncio.gather(
            ask(make=agenerate, regex="[a-z]{9}"),
            ask(["a", "b"], make=agenerate, regex="[a-z]{5}", n=2, temperature=1.0, seed=3),
            ask(make=agenerate, schema=Place, return_result=True),
        )

    one, several, result = asyncio.run(work())
    assert one == ask(regex="[a-z]{9}")
    assert several == ask(["a", "b"], regex="[a-z]{5}", n=2, temperature=1.0, seed=3)
    assert result.value == ask(schema=Place)


def test_agenerate_streams(ask: Any) -> None:
    async def work() -> list[StreamChunk]:
        return [chunk async for chunk in ask(make=agenerate, schema=Place, stream=True)]

    chunks = asyncio.run(work())
    assert chunks[-1].value == ask(schema=Place)
    assert [chunk.delta for chunk in chunks] == [chunk.delta for chunk in ask(schema=Place, stream=True)]


def test_agenerate_raises_where_it_is_awaited(ask: Any) -> None:
    async def work(**options: Any) -> Any:
        return await ask(make=agenerate, **options)

    with pytest.raises(ValueError, match="exactly one of"):
        asyncio.run(work())
    with pytest.raises(TruncatedError):
        asyncio.run(work(regex="[b-d]{40}", max_new_tokens=4))


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_stops_at_the_next_step(
    ask: Any, tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    forwards = 0

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1
        time.sleep(0.01)

    async def consume() -> None:
        if stream:
            async for _ in ask(make=agenerate, regex="[a-z]{250}", stream=True):
                pass
        else:
            await ask(make=agenerate, regex="[a-z]{250}")

    async def work() -> int:
        task = asyncio.create_task(consume())
        while forwards < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        seen = forwards
        await asyncio.sleep(0.2)
        return forwards - seen

    handle = tiny_model.register_forward_pre_hook(count)
    try:
        assert asyncio.run(work()) <= 1
    finally:
        handle.remove()
    assert forwards < 100
