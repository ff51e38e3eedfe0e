"""Calls of an ASGI application without a socket."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message


class Answer(NamedTuple):
    """What the application answered."""

    status_code: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(app: ASGIApp, method: str, path: str, body: object = None) -> Answer:
    """Call the application once; `body` is sent as JSON, None as nothing."""
    sent = b"" if body is None else json.dumps(body).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"app"), (b"content-type", b"application/json")],
        "server": ("app", 80),
        "client": ("test", 1),
    }
    received: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Message) -> None:
        received.append(message)

    await app(scope, receive, send)
    status = next(each["status"] for each in received if each["type"] == "http.response.start")
    return Answer(status, b"".join(each.get("body", b"") for each in received if each["type"] == "http.response.body"))
