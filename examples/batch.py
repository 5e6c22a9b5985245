"""Batches: several prompts in one go, each with its own schema, and several answers to one prompt."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

import maskwright


class Person(BaseModel):
    name: str = Field(max_length=40)
    age: int = Field(ge=0, le=130)


class Measurement(BaseModel):
    quantity: str = Field(max_length=20)
    value: float
    unit: str = Field(max_length=10)


def extract(tasks: dict[str, type[BaseModel]]) -> list[Any]:
    answers: list[Any] = maskwright.generate(prompt=list(tasks), schema=list(tasks.values()))
    return answers


def samples(text: str, count: int) -> list[maskwright.GenerationResult]:
    """The prompt is read once; the answers differ by their random numbers."""
    results: list[maskwright.GenerationResult] = maskwright.generate(
        prompt=text, schema=Person, n=count, temperature=1.0, seed=7, return_result=True
    )
    return results


if __name__ == "__main__":
    tasks = {
        "Tom Baker is 41 years old.": Person,
        "The sensor in the north tower reported a temperature of 21.5 degrees.": Measurement,
        "Ada Lovelace, 36, writes about engines.": Person,
    }
    for answer in extract(tasks):
        print(repr(answer))
    for result in samples("Either Ada, 36, or Tom, 41, will come.", 4):
        print(f"{result.logprob:7.2f}  {result.value!r}")
