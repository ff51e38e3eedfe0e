"""The fence: what one state transfer does to the standby item it meets (design.md, section 3, rules 1 to 3).

A transfer carries the mapped image of an item at a version. It may arrive late, twice, or after a newer one; whatever
the order, the same item results, because only a higher version is ever written. The adapters state the same rule as a
condition in the write itself and ask `judge` only what a refused condition meant, so this module is the meaning, and
the property and contract tests hold both to it.
"""

from __future__ import annotations

from typing import NamedTuple

from crossfade.core.protocol.keyed.item import Item, Role, is_active, parse_item, version_of
from crossfade.core.protocol.keyed.perform import replaced
from crossfade.core.protocol.row import same_content
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.shape import Side, TableShape


def takes_generation(destination: Side) -> bool:
    """Say whether a row that a transfer creates takes the generation of the image that it copies.

    It does in the source table, where an absent row would read as active at generation 0 (rule 2). A row of the target
    table begins at generation 0, as an imported one does.
    """
    return destination is Side.SOURCE


class Judgement(NamedTuple):
    """What a transfer does to the item it meets.

    Attributes:
        verdict: what becomes of it.
        item: the item that then stands in the table; None only where nothing stood and nothing was written.
    """

    verdict: Verdict
    item: Item | None


def judge(transfer: Transfer, item: Item | None, shape: TableShape) -> Judgement:
    """Say what a transfer does to the item it meets.

    A row that the transfer creates is standby with the transfer's first generation; of a row that is there, role and
    generation stay as they are, and so do attributes that a closed mapping doesn't name.

    Args:
        transfer: the mapped image at its version.
        item: what the other table holds; None when it holds nothing.
        shape: of that table.

    Raises:
        PoisonRecord: a protocol attribute or, where contents are compared, a value can't be read.
    """
    incoming = parse_item(transfer.image, shape)._replace(version=transfer.version)
    if item is None:
        created = incoming._replace(role=Role.STANDBY, generation=transfer.first_standing)
        return Judgement(Verdict.APPLIED, created)
    # Replication has ended before the target table reads a missing role as active, so `complete` is no question here.
    if is_active(item, shape.side):
        return Judgement(Verdict.OWNED, item)
    if item.version is None or item.role is None:
        return Judgement(Verdict.UNVERSIONED, item)
    standing = version_of(item)
    if standing > transfer.version:
        return Judgement(Verdict.STALE, item)
    if standing == transfer.version and not transfer.repair:
        return Judgement(Verdict.DUPLICATE if is_there(transfer, item, shape) else Verdict.CONFLICT, item)
    content = replaced(item.content, incoming.content, shape)
    moved = incoming._replace(role=item.role, generation=item.generation, content=content)
    return Judgement(Verdict.APPLIED, moved)


def is_there(transfer: Transfer, item: Item | None, shape: TableShape) -> bool:
    """Say whether a row has all that a transfer would bring: a later version, or this one with the same content.

    It is asked of the owner too, since a row keeps its content when it becomes one.

    Args:
        transfer: the mapped image at its version.
        item: what the other table holds.
        shape: of that table.

    Raises:
        PoisonRecord: a protocol attribute or, where contents are compared, a value can't be read.
    """
    standing = version_of(item)
    if item is None or standing != transfer.version:
        return standing > transfer.version
    return same_content(_named(parse_item(transfer.image, shape), shape), _named(item, shape))


def _named(item: Item, shape: TableShape) -> Item:
    """What the mapping doesn't name is none of a transfer's business: it can't be in conflict over it."""
    if shape.attributes is None:
        return item
    return item._replace(content=tuple(pair for pair in item.content if pair[0] in shape.attributes))
