"""Attribute values of all types, in all their spellings, for Hypothesis."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from crossfade.core.values.numbers import normal_number

digits = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
binary = st.binary(max_size=6).map(lambda each: base64.b64encode(each).decode())
scalars = (
    st.text(max_size=4).map(lambda each: {"S": each})
    | digits.map(lambda each: {"N": each})
    | binary.map(lambda each: {"B": each})
    | st.booleans().map(lambda each: {"BOOL": each})
    | st.just({"NULL": True})
    | st.lists(st.text(max_size=2), min_size=1, max_size=3, unique=True).map(lambda each: {"SS": each})
    | st.lists(digits, min_size=1, max_size=3, unique_by=normal_number).map(lambda each: {"NS": each})
    | st.lists(binary, min_size=1, max_size=3, unique=True).map(lambda each: {"BS": each})
)
values: st.SearchStrategy[dict[str, Any]] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: {"L": each})
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(lambda each: {"M": each})
    ),
    max_leaves=6,
)


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


def respelled(value: dict[str, Any], draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    """The same value in another spelling."""
    ((kind, inner),) = value.items()
    match kind:
        case "N":
            return {kind: draw(st.sampled_from([inner, spelled(inner)]))}
        case "NS":
            return {kind: draw(st.permutations([spelled(each) for each in inner]))}
        case "SS" | "BS":
            return {kind: draw(st.permutations(inner))}
        case "L":
            return {kind: [respelled(each, draw) for each in inner]}
        case "M":
            return {kind: {name: respelled(inner[name], draw) for name in draw(st.permutations(list(inner)))}}
    return value


def spelled(number: str) -> str:
    text = normal_number(number)
    return text + ("0" if "." in text else ".0")
