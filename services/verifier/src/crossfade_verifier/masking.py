"""Customers' values: hidden by default. All that leaves the verifier about a row's content goes through here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from crossfade.contracts.key import Shown
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.values import value_of

HIDDEN: Final = "(hidden)"

_BEFORE_A_VALUE: Final = re.compile(
    r"(, it is|: expected .*?, got|not a number:|digits:|no attribute value:|can't compute from [^:]*:) .*", re.DOTALL
)
"""Where the reading's messages begin to quote a row; names, and what was expected, stay."""

_BETWEEN_SIDES: Final = re.compile(r"; (?=(?:source|target): )")

_OF_THE_PROTOCOL: Final = re.compile(r"((source|target): )?(no such )?cf_(role|mv|gen|emv|deleted)\b")
"""Messages about values that are Crossfade's own: no id of an operation, and no event."""


def shown(value: Raw | bytes, reveal: bool = False) -> Shown:
    """Return one attribute value for an answer.

    Args:
        value: raw, as DynamoDB has it.
        reveal: whether to show what is in it, not just type and length; only for an operator who asks for it.
    """
    try:
        kind, inner = value_of(value)
    except PoisonRecord:
        return Shown("?", len(bytes(value)), _decoded(value) if reveal else None)
    length = len(inner) if hasattr(inner, "__len__") else 1
    return Shown(kind, length, msgspec.json.decode(value)[kind] if reveal else None)


def said(cause: str, reveal: bool = False) -> str:
    """Return why rows can't be read or mapped, up to the first of customers' values that it quotes."""
    if reveal:
        return cause
    kept = []
    for each in _BETWEEN_SIDES.split(cause):
        hidden = each if _OF_THE_PROTOCOL.match(each) else _BEFORE_A_VALUE.sub(rf"\1 {HIDDEN}", each)
        kept.append(hidden)
        if hidden != each:
            break  # whatever follows may be more of the value
    return "; ".join(kept)


def sample_shown(sample: Mapping[str, Any], reveal: bool = False) -> dict[str, Any]:
    """Return a sample of a class, whose causes may quote values."""
    made = dict(sample)
    if "cause" in made:
        made["cause"] = said(made["cause"], reveal)
    for side in Side:
        row = made.get(side.value)
        if row and "unmappable" in row:
            made[side.value] = row | {"unmappable": said(row["unmappable"], reveal)}
    if "differs" in made:
        made["differs"] = [said(each, reveal) for each in made["differs"]]
    return made


def _decoded(value: Raw | bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return bytes(value).decode(errors="replace")
