"""The commands for on-call before the door of a real verifier, on memory or by HTTP."""

from __future__ import annotations

import argparse
import io
from typing import Any
from urllib.parse import urlsplit

import msgspec

from crossfade.adapters.clock import SYSTEM
from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.keys import Key
from crossfade.ports.clock import Clock
from crossfade.runtime.http import Door, Request
from crossfade.runtime.http_client import Answered
from crossfade_controller.cli import parser
from crossfade_controller.oncall import carry_out
from crossfade_controller.screen import Screen
from crossfade_controller.verifier_door import VerifierDoor
from verifier_service import Running, is_safe

URL = "http://127.0.0.1:8002"


class Gone:
    """A door that nobody stands behind while `is_gone`."""

    def __init__(self, door: Door) -> None:
        self._door, self.is_gone = door, False

    async def send(self, url: str, body: object) -> Any:
        if self.is_gone:
            raise StoreUnavailable(f"{url}: connection refused")
        parts = urlsplit(url)
        headers = {"host": parts.netloc, "content-type": "application/json"}
        sent = b"" if body is None else msgspec.json.encode(body)
        method = "GET" if body is None else "POST"
        answer = await self._door.answer(Request(method, parts.path, headers, sent, "", parts.query))
        if answer.status >= 300:
            raise Answered(url, answer.status, answer.body)
        return msgspec.json.decode(answer.body)


class Terminal:
    """What an operator types, and what is printed."""

    def __init__(self, door: Door, *, width: int = 80, as_json: bool = False, clock: Clock = SYSTEM) -> None:
        self.wire = Gone(door)
        self._out, self._beside, self._clock = io.StringIO(), io.StringIO(), clock
        self.screen = Screen(as_json, width, out=self._out, beside=self._beside)

    async def type(self, *words: str) -> int:
        """Run a command that succeeds or fails by its exit code; errors of the verifier are raised."""
        return await carry_out(self.parsed(*words), VerifierDoor(URL, self.wire.send), self.screen, self._clock)

    def parsed(self, *words: str) -> argparse.Namespace:
        return parser().parse_args(list(words))

    @property
    def text(self) -> str:
        """What was printed since the last look."""
        text = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return text

    @property
    def said(self) -> str:
        return self._beside.getvalue()

    def document(self) -> Any:
        return msgspec.json.decode(self.text)


async def drifted(service: Running, fault: Difference, *keys: Key) -> Terminal:
    """Plant a fault on keys, and wait until a pass has called them."""
    await service.until(is_safe)
    for key in keys:
        service.world.plant(fault, key)
    await service.until(lambda body: body["differences"][fault.value]["count"] == len(keys))
    return Terminal(service.door)
