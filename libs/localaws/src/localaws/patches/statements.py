"""Each text of a PartiQL statement is parsed once; what differs between calls is filled in.

A client sends a handful of statement texts with ever new parameters, and ministack parses each of them
again, which is most of the cost of a statement. Nothing here changes what a statement means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import ministack.services._dynamodb_keywords as keywords
import ministack.services.dynamodb as dynamodb

from localaws.patches.registry import patch

TEXTS = 4096

Fill = Callable[[Sequence[Any]], Any]
"""Gets the parameters, returns a part of the parsed statement."""


class Slot(dict[str, str]):
    """Stands for a parameter in a parsed statement; looks like a string where the parser looks at it."""

    def __init__(self, index: int) -> None:
        """Stand for the parameter at this index."""
        super().__init__(S="")
        self.index = index


def _fill(part: Any) -> Fill | None:
    """Return what fills a part of a parsed statement with parameters; None when it holds no slot."""
    if type(part) is Slot:
        index = part.index
        return lambda parameters: parameters[index]
    if type(part) is dict:
        names, fills = list(part), [_fill(each) for each in part.values()]
        if not any(fills):
            return None
        made = [fill or _constant(each) for fill, each in zip(fills, part.values(), strict=True)]
        return lambda parameters: {name: fill(parameters) for name, fill in zip(names, made, strict=True)}
    if type(part) in (list, tuple):
        fills = [_fill(each) for each in part]
        if not any(fills):
            return None
        made = [fill or _constant(each) for fill, each in zip(fills, part, strict=True)]
        return _checked(part, made) if type(part) is tuple else lambda parameters: [fill(parameters) for fill in made]
    return None


def _constant(part: Any) -> Fill:
    return lambda _parameters: part


def _checked(node: tuple[Any, ...], made: list[Fill]) -> Fill:
    """Return what fills a node; an ordering checks its operands as the parser would have."""
    ordered = node[0] == "cmp" and node[1] in ("<", "<=", ">", ">=")
    if not ordered and node[0] != "between":
        return lambda parameters: tuple([fill(parameters) for fill in made])

    def fill_checked(parameters: Sequence[Any]) -> Any:
        filled = tuple([fill(parameters) for fill in made])
        keywords._check_ordered("BETWEEN" if node[0] == "between" else filled[1], *filled[2:4])
        return filled

    return fill_checked


def _slots(part: Any) -> set[int]:
    if type(part) is Slot:
        return {part.index}
    if isinstance(part, (dict, list, tuple)):
        return set().union(*map(_slots, part.values() if isinstance(part, dict) else part))
    return set()


@lru_cache(maxsize=TEXTS)
def marks(text: str) -> int:
    """Return how many parameters a statement wants.

    Raises:
        PartiqlError: the text is none of PartiQL.
    """
    return sum(1 for kind, word, _, _ in keywords._tokenize(text) if (kind, word) == ("op", "?"))


@patch("remembered_statements", dynamodb, "parse_partiql_statement")
def remembered_statement(original: Any) -> Any:
    """Parses a text with slots; one that does not keep them all is parsed with its parameters each time."""

    @lru_cache(maxsize=TEXTS)
    def template(text: str) -> Fill | None:
        count = marks(text)
        try:
            parsed = original(text, [Slot(index) for index in range(count)])
        except ValueError:  # perhaps only with slots: let the original say
            return None
        return (_fill(parsed) or _constant_copy(parsed)) if _slots(parsed) == set(range(count)) else None

    def mended(text: str, parameters: Sequence[Any] | None) -> Any:
        given = parameters or []
        fill = template(text)
        return original(text, given) if fill is None or marks(text) != len(given) else fill(given)

    return mended


def _constant_copy(parsed: dict[str, Any]) -> Fill:
    """The caller adds to the statement that it gets."""
    return lambda _parameters: dict(parsed)
