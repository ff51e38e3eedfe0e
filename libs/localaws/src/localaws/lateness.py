"""Requests that come late: held on their way on request, carried out afterwards, even if their client has gone.

A client that gave a request up doesn't know whether it is still on its way. Here it is, for as long as a test wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from localaws.http_server import Request

Json = dict[str, Any]

ENDLESS: Final = -1
UNTIL_RELEASED: Final = -1.0


class Lateness:
    """Which requests are held, and for how long; one of them serves the whole emulator."""

    def __init__(self) -> None:
        """Hold none."""
        self._left: dict[tuple[str, str], tuple[int, float]] = {}
        self._waiting: set[asyncio.Event] = set()

    def set(self, settings: Mapping[str, Any]) -> None:
        """Hold requests from now on, or let those that are held go.

        Args:
            settings: `access_key_id` and `operation` (`PutItem`), each "" or left out for any; `requests`, how many, -1
                for no end, 0 for none; `delay_s`, -1 until released. Or `release`: true, alone, lets all go.

        Raises:
            ValueError: a setting is unknown or makes no sense.
        """
        if unknown := set(settings) - {"access_key_id", "operation", "requests", "delay_s", "release"}:
            raise ValueError(f"late requests have no such setting: {', '.join(sorted(unknown))}")
        if settings.get("release"):
            self._left.clear()
            for each in self._waiting:
                each.set()
            return
        key, operation = settings.get("access_key_id", ""), settings.get("operation", "")
        requests, delay_s = settings.get("requests", 1), settings.get("delay_s", UNTIL_RELEASED)
        if not isinstance(key, str) or not isinstance(operation, str):
            raise ValueError("access_key_id and operation must be names")
        if not isinstance(requests, int) or requests < ENDLESS:
            raise ValueError(f"requests is {requests!r}, and must be how many, or -1 for no end")
        if not isinstance(delay_s, (int, float)) or (delay_s < 0 and delay_s != UNTIL_RELEASED):
            raise ValueError(f"delay_s is {delay_s!r}, and must be seconds, or -1 until they are released")
        self._left[key, operation] = (requests, float(delay_s))
        if not requests:
            del self._left[key, operation]

    def report(self) -> Json:
        """Return how many requests are held now, and which will be."""
        rules = [
            {"access_key_id": key, "operation": operation, "requests": requests, "delay_s": delay_s}
            for (key, operation), (requests, delay_s) in sorted(self._left.items())
        ]
        return {"waiting": len(self._waiting), "late": rules}

    def delay_of(self, request: Request) -> float | None:
        """Return for how long this request is to be held, in s, and count it; None for not at all."""
        if not self._left:
            return None
        credential = request.headers.get(b"authorization", b"").partition(b"Credential=")[2]
        key = credential.partition(b"/")[0].decode("latin-1")
        operation = request.headers.get(b"x-amz-target", b"").rpartition(b".")[2].decode("latin-1")
        if not operation:
            return None
        for place in ((key, operation), (key, ""), ("", operation), ("", "")):
            if place in self._left:
                left, delay_s = self._left[place]
                if left == 1:
                    del self._left[place]
                elif left != ENDLESS:
                    self._left[place] = (left - 1, delay_s)
                return delay_s
        return None

    async def wait(self, delay_s: float) -> None:
        """Hold a request."""
        released = asyncio.Event()
        self._waiting.add(released)
        try:
            await asyncio.wait_for(released.wait(), None if delay_s == UNTIL_RELEASED else delay_s)
        except TimeoutError:
            return
        finally:
            self._waiting.discard(released)


lateness: Final = Lateness()
