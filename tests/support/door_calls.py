"""Calls through a door without a socket."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from crossfade.runtime.http import Door, Request


class Answer(NamedTuple):
    """What was answered."""

    status_code: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def call(door: Door, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """Ask once; `body` is sent as JSON, None as nothing. Headers are spelled with "_" for "-"."""
    sent = b"" if body is None else json.dumps(body).encode()
    given = {"host": "127.0.0.1:8080", "content_type": "application/json"} | headers
    named = {name.replace("_", "-"): value for name, value in given.items()}
    bare, _, query = path.partition("?")
    answer = await door.answer(Request(method, bare, named, sent, query=query))
    return Answer(answer.status, answer.body)
