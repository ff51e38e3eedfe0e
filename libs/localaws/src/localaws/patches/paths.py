"""Two document paths of one update expression must not overlap.

ministack 1.5.33 takes `SET a = :x ADD a :y` and the like, and applies one after the other; the service
refuses the request, so code that passes here would fail there.

Source: Amazon DynamoDB developer guide, "Using update expressions"; message as of AWS's own engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ministack.services.dynamodb as dynamodb

from localaws.patches.registry import patch

Path = Sequence[Any]


def order_of(path: Path) -> tuple[tuple[bool, Any], ...]:
    """Return by what document paths are sorted so that a list's elements stand by their numbers."""
    return tuple((isinstance(part, int), part) for part in path)


def overlap(paths: Sequence[Path]) -> str | None:
    """Return the service's message about two paths of which one leads through the other; None if there are none."""
    seen: dict[tuple[Any, ...], Path] = {}
    for path in paths:
        for length in range(1, len(path) + 1):
            earlier = seen.get(tuple(path[:length]))
            if earlier is not None and len(earlier) <= length:
                return _message(earlier, path)
        longer = next((each for whole, each in seen.items() if whole[: len(path)] == tuple(path)), None)
        if longer is not None:
            return _message(longer, path)
        seen[tuple(path)] = path
    return None


def _message(one: Path, two: Path) -> str:
    first, second = (f"[{', '.join(f'[{p}]' if isinstance(p, int) else str(p) for p in path)}]" for path in (one, two))
    return (
        "Two document paths overlap with each other; must remove or rewrite one of these paths; "
        f"path one: {first}, path two: {second}"
    )


def _targets(expression: str, names: dict[str, str]) -> list[Path]:
    """Return the path that each action of an update expression writes."""
    paths: list[Path] = []
    clause = ""
    tokens: list[tuple[str, str]] = []
    for token in [*dynamodb._tokenize(expression), ("IDENT", "SET")]:
        if token[0] == "IDENT" and token[1].upper() in ("SET", "REMOVE", "ADD", "DELETE"):
            for action in dynamodb._split_by_comma(tokens):
                ends = {"SET": "EQ", "REMOVE": "", "ADD": "VALUE_REF", "DELETE": "VALUE_REF"}[clause]
                end = next((i for i, part in enumerate(action) if part[0] == ends), len(action))
                paths.append(dynamodb._parse_path_from_tokens(action[:end], names))
            clause, tokens = token[1].upper(), []
        elif token[0] != "EOF":
            tokens.append(token)
    return paths


@patch("overlapping_paths", dynamodb, "_apply_update_expression")
def apply_update(original: Any) -> Any:
    """Refuses an expression that writes one place twice."""

    def mended(item: Any, expression: str, values: Any, names: Any, *rest: Any) -> Any:
        if clash := overlap(_targets(expression, names or {})):
            raise ValueError(f"Invalid UpdateExpression: {clash}")
        return original(item, expression, values, names, *rest)

    return mended
