"""Streaming: the text as it is written, and the object as it grows."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field

import maskwright


class Line(BaseModel):
    product: str = Field(max_length=30)
    quantity: int = Field(ge=1, le=99)


class Order(BaseModel):
    customer: str = Field(max_length=40)
    lines: list[Line] = Field(min_length=1, max_length=3)


def grow(text: str) -> Iterator[maskwright.StreamChunk]:
    chunks: Iterator[maskwright.StreamChunk] = maskwright.generate(prompt=text, schema=Order, stream=True)
    return chunks


if __name__ == "__main__":
    for chunk in grow("Tom Baker ordered 3 x copper kettle and 12 x linen towel."):
        # An Order from the first chunk on: members that have not come yet are None or their default.
        print(f"{chunk.delta!r:20} {chunk.partial!r}")
    print("validated:", chunk.value)
