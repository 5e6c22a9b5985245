"""Extraction: a text and a pydantic class in, a validated instance out."""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, Field

import maskwright


class Address(BaseModel):
    street: str = Field(max_length=40)
    city: str = Field(max_length=30)


class Person(BaseModel):
    name: str = Field(max_length=40)
    age: int = Field(ge=0, le=130)
    address: Address
    birthday: date | None = None


def extract(text: str) -> Person:
    person: Person = maskwright.generate(prompt=text, schema=Person)
    return person


if __name__ == "__main__":
    print(extract("Mirela Ostrand is 36 years old and lives at 12 Harbour Lane in Bergen."))
