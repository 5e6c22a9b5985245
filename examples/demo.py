"""What `make demo` runs: a pydantic class in, a validated instance out.

The model is tiny and untrained, so the content is meaningless; that the object is valid is the grammar's doing.
"""

from __future__ import annotations

import time
from enum import Enum

from pydantic import BaseModel, Field
from tiny import tiny_model, tiny_tokenizer

import maskwright


class Priority(Enum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Item(BaseModel, extra="forbid"):
    sku: str = Field(pattern=r"^[A-Z]-[0-9]{2,4}$")
    count: int = Field(ge=1, le=99)


class Order(BaseModel, extra="forbid"):
    id: int = Field(ge=1, le=99999)
    customer: str = Field(max_length=24)
    priority: Priority
    items: list[Item] = Field(min_length=1, max_length=3)
    paid: bool


def main() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    print(f"Model: {model.num_parameters():,} random weights, untrained: valid objects, meaningless content.")
    for seed in range(3):
        start = time.perf_counter()
        order = maskwright.generate(
            model, "The order:", schema=Order, tokenizer=tokenizer, temperature=1.0, seed=seed, max_new_tokens=1000
        )
        milliseconds = 1000 * (time.perf_counter() - start)
        assert isinstance(order, Order)
        print(
            f"\nseed {seed}, {milliseconds:.0f} ms{' (the first call prepares the vocabulary)' if seed == 0 else ''}:"
        )
        print(order.model_dump_json(indent=2))
    print("\nAll of them are instances of Order, validated by pydantic.")


if __name__ == "__main__":
    main()
