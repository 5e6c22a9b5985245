"""A server of ours on a port of its own, asked by OpenAI's client: what the tests of `maskwright serve` share."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import openai
import uvicorn

from maskwright.serve_app import create_app
from maskwright.serve_service import Service

__all__ = ["TEMPLATE", "Served", "ask", "in_schema", "schema_number", "text_of"]

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
)


class Served:
    """A server on a port of its own, in a thread of its own; options as create_app has them."""

    def __init__(self, service: Service, **options: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.service, self.url = service, f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(create_app(service, grace=60.0, **options), port=self.port, log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.02)
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=300.0)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


def schema_number(number: int) -> dict[str, Any]:
    """Object schemas that have no instance in common."""
    return {
        "type": "object",
        "properties": {
            f"key_{number}": {"type": "integer", "minimum": 10 * number, "maximum": 10 * number + 9},
            "word": {"enum": [f"w{number}", f"v{number}"]},
            "flag": {"type": "boolean"},
        },
        "required": [f"key_{number}", "word", "flag"],
        "additionalProperties": False,
    }


def in_schema(schema: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def ask(client: Any, **options: Any) -> Any:
    options = {"model": "tiny", "messages": [{"role": "user", "content": "An answer, please."}], **options}
    return client.chat.completions.create(**options)


def text_of(response: Any) -> str:
    (choice,) = response.choices
    return choice.message.content
