"""A trace as text: each span a line, indented below its parent, with a bar on a common time axis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from crossfade_demo.receiver import ReceivedSpan

BAR: Final = 18
NAME: Final = 30
SERVICE: Final = 19
TOLD: Final = ("crossfade.record.outcome", "crossfade.verdict", "crossfade.outcome", "crossfade.copy.outcome")
"""Attributes that say in a word how it went."""


def waterfall(spans: Sequence[ReceivedSpan]) -> list[str]:
    """Return the lines of a trace's picture.

    Args:
        spans: of one trace.
    """
    if not spans:
        return []
    start_us = min(each.start_us for each in spans)
    took_us = max(1, max(each.end_us for each in spans) - start_us)
    lines = [f"{'':{SERVICE + NAME}}{'0':<{BAR // 2}}{_ms(took_us):>{BAR - BAR // 2}}"]
    for depth, span in _in_order(spans):
        name = ("  " * depth + _short(span.name))[: NAME - 1]
        begin = min(BAR - 1, (span.start_us - start_us) * BAR // took_us)
        width = max(1, min(BAR - begin, round((span.end_us - span.start_us) * BAR / took_us)))
        bar = f"{' ' * begin}{'█' * width}".ljust(BAR)
        told = next((str(span.attributes[each]) for each in TOLD if each in span.attributes), "")
        taken = _ms(span.end_us - span.start_us)
        lines.append(f"{span.service:{SERVICE}}{name:{NAME}}{bar} {taken:>9}  {told}".rstrip())
        for event in span.events:
            said = " ".join(str(value) for value in event.attributes.values())
            lines.append(f"{'':{SERVICE}}{'  ' * depth}  · {event.name}: {said}"[:120])
    return lines


def _in_order(spans: Sequence[ReceivedSpan]) -> list[tuple[int, ReceivedSpan]]:
    known = {each.span_id for each in spans}
    below: dict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda each: (each.start_us, -each.end_us)):
        below[span.parent_id if span.parent_id in known else ""].append(span)
    ordered: list[tuple[int, ReceivedSpan]] = []

    def walk(parent_id: str, depth: int) -> None:
        for span in below[parent_id]:
            ordered.append((depth, span))
            walk(span.span_id, depth + 1)

    walk("", 0)
    return ordered


def _short(name: str) -> str:
    return name.rpartition("/")[2] if "/" in name else name


def _ms(us: int) -> str:
    return f"{us / 1000:,.1f} ms"
