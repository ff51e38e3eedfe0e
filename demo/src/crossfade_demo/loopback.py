"""Plain HTTP to processes on loopback."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any


def send(url: str, body: bytes | None = None, *, method: str | None = None, timeout_s: float = 5.0) -> bytes:
    """Send a request: a GET without a body, a POST with one, unless `method` says otherwise.

    Raises:
        OSError: no answer, or one that is not a success.
    """
    headers = {"Content-Type": "application/json"} if body is not None else {}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)  # noqa: S310 - loopback only
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - loopback only
        found: bytes = answer.read()
        return found


async def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Ask for JSON; None when there is no answer. With a body it is a POST."""
    try:
        answer = await asyncio.to_thread(send, url, None if body is None else json.dumps(body).encode())
        found: dict[str, Any] = json.loads(answer)
    except (OSError, ValueError):
        return None
    return found
