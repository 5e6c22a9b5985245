"""What `make demo` runs: a message in, a validated pydantic object out, with nothing but the package.

The model is the one that comes with Maskwright (docs/model.md). It was trained on other texts than this one.
"""

from __future__ import annotations

import time
from enum import Enum

from pydantic import BaseModel, Field
from rich.console import Console
from rich.json import JSON
from rich.panel import Panel

import maskwright


class Priority(Enum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Line(BaseModel):
    product: str
    quantity: int = Field(ge=1, le=99)


class Order(BaseModel):
    order_id: int = Field(ge=1, le=99999)
    customer: str = Field(max_length=40)
    lines: list[Line] = Field(min_length=1, max_length=5)
    priority: Priority
    paid: bool


MESSAGE = (
    "Order 52914 was placed by Mirela Ostrand. It contains 3 x copper kettle and 12 x linen towel. "
    "The previous order 48230 was placed by Tom Baker. Order 52914 has been paid and was marked high priority."
)
EXPECTED = Order(
    order_id=52914,
    customer="Mirela Ostrand",
    lines=[Line(product="copper kettle", quantity=3), Line(product="linen towel", quantity=12)],
    priority=Priority.HIGH,
    paid=True,
)


def main() -> None:
    console = Console()
    console.print(Panel(MESSAGE, title="the message", title_align="left"))
    start = time.perf_counter()
    result = maskwright.generate(prompt=MESSAGE, schema=Order, return_result=True)
    seconds = time.perf_counter() - start
    assert isinstance(result.value, Order)
    console.print(Panel(JSON(result.text), title="the object, as the model wrote it", title_align="left"))
    verdict = "every field is right" if result.value == EXPECTED else "not every field is right"
    console.print(f"An instance of Order, validated by pydantic: {verdict}.")
    console.print(f"{len(result.tokens)} tokens in {seconds:.2f} s, loading the model included.")


if __name__ == "__main__":
    main()
