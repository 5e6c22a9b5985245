"""The key that clients of `maskwright serve` must send, as OpenAI's do: `Authorization: Bearer KEY`."""

from __future__ import annotations

import json
import secrets
from collections.abc import MutableMapping
from typing import Any

__all__ = ["Keyed"]

_OPEN = frozenset({"/health"})  # whoever looks whether the server is there has no key


class Keyed:
    """ASGI middleware: 401 for requests without the key."""

    def __init__(self, app: Any, key: str) -> None:
        self._app, self._expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN or self._knows(scope):
            await self._app(scope, receive, send)
            return
        message = "the API key is missing or wrong: send it as `Authorization: Bearer KEY`"
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})

    def _knows(self, scope: MutableMapping[str, Any]) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return secrets.compare_digest(given, self._expected)
