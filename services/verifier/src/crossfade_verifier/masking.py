"""Customers' values: hidden unless an operator reveals them, which is journalled first (ADR 0039).

What leaves the verifier of a row's content leaves it by `shown`. Causes need no cleaning: whoever raises an error about
a value describes it (`crossfade.core.values.masking`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Raw

from crossfade.contracts.key import Shown
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.ports.control import Journal
from crossfade.runtime.http import HttpRefused, Request
from crossfade.runtime.masking import mark_of
from crossfade.runtime.roles import Role
from crossfade_verifier.reading.values import form_of, value_of


def shown(value: Raw | bytes, reveal: bool = False) -> Shown:
    """Return one attribute value for an answer.

    Args:
        value: raw, as DynamoDB has it.
        reveal: whether to show what is in it, not just type, length and mark; only once a `Reveals` has permitted it.
    """
    try:
        (kind, inner), form = value_of(value), form_of(value)
    except PoisonRecord:
        return Shown("?", len(bytes(value)), mark_of(bytes(value)), _decoded(value) if reveal else None)
    length = len(inner) if hasattr(inner, "__len__") else 1
    return Shown(kind, length, mark_of(form), msgspec.json.decode(value)[kind] if reveal else None)


class Reveals:
    """Lets operators see the values of a key."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal, which has each reveal before it happens."""
        self._journal = journal

    async def permit(self, request: Request, key: Key, said: str = "") -> None:
        """Journal who is about to see which key's values; nothing may be shown before this returns.

        Args:
            request: of who asks.
            key: whose values.
            said: who asks by their own account, where neither token nor certificate says it.

        Raises:
            HttpRefused: 403, they aren't an operator; 400, `said` isn't a name; 503, the journal can't be written.
        """
        request.demand(Role.OPERATOR, "revealing values")
        entry = {"key": key.decode(), "who": request.name(said)}
        try:
            await self._journal.append("reveal", entry)
        except CrossfadeError as error:
            because = f"nothing is revealed, because the journal can't be written: {error}"
            raise HttpRefused(HTTPStatus.SERVICE_UNAVAILABLE, "not_journaled", because) from error


def _decoded(value: Raw | bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return bytes(value).decode(errors="replace")
