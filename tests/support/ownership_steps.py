"""Small pure pieces of the exhaustive exploration."""

from __future__ import annotations

from typing import NamedTuple

from crossfade.core.ownership.decisions import Done
from crossfade.core.protocol.keyed.item import Item, build_image
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.protocol.keyed.writes import Write
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from ownership_cases import KEY


class Step(NamedTuple):
    """What one pod's next step does, looked up by its state and the item it meets."""

    item: int  # that then stands on the side it asked
    pod: int
    writes: bool
    applies: int  # bit of the operation that took effect, or 0
    label: str
    done: Done | None


def with_pod(pods: tuple[int, ...], place: int, pod: int) -> tuple[int, ...]:
    return (*pods[:place], pod, *pods[place + 1 :])


def exists(item: Item | None) -> bool:
    return item is not None and not item.deleted


def spelled(write: Write) -> str:
    kind = getattr(getattr(write, "op", None), "kind", None)
    return kind.value if kind else type(write).__name__.lower()


def events_between(side: Side, before: Item | None, after: Item) -> list:  # type: ignore[type-arg]
    """What the feed says about a change."""
    shape = MAPPING.shape(side)

    def image(item: Item | None) -> Image | None:
        return None if item is None else build_image(item, shape, key_image(KEY, shape.key))

    kind = ChangeKind.INSERT if before is None else ChangeKind.MODIFY
    change = Change(shape.table, kind, KEY, 0, True, image(after), image(before), False)
    return [published.event for published in events_of(change, side)]
