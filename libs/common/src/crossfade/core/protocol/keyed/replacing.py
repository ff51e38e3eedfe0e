"""A write that puts a whole image in place of another: what it sets and removes, as an expression or as a full item.

Activations and the transfers of open shapes are such writes. Both forms are made from one list, so they leave the same
item: an UpdateItem that names each attribute, or a PutItem of what the update would have left (ADR 0015).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crossfade.core.protocol.keyed.item import CARRIED, GEN, MV, ROLE, Item, Role, build_image, version_of
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.shape import TableShape


class Replacement(NamedTuple):
    """What a write sets and removes; it leaves everything else as it stands.

    Attributes:
        sets: attributes and their values; no key attribute.
        removes: attributes that go, where they are there.
    """

    sets: Image
    removes: tuple[str, ...]

    def expression(self) -> str:
        """Return the UpdateExpression. Its names are `#0`, `#1`, …, its values `:0`, `:1`, …, in the order of both."""
        text = "SET " + ",".join([f"#{number}=:{number}" for number in range(len(self.sets))])
        if self.removes:
            first = len(self.sets)
            text += " REMOVE " + ",".join([f"#{first + number}" for number in range(len(self.removes))])
        return text

    def names(self) -> dict[str, str]:
        """Return the expression's names by their placeholders."""
        return {f"#{number}": name for number, name in enumerate((*self.sets, *self.removes))}

    def values(self) -> Image:
        """Return the expression's values by their placeholders."""
        return {f":{number}": raw for number, raw in enumerate(self.sets.values())}

    def onto(self, found: Image | None, key: Image) -> Image:
        """Return the item that the expression would leave.

        Args:
            found: the item that stands there; None when there is none.
            key: its key attributes.
        """
        gone = set(self.removes)
        return {name: raw for name, raw in (found or {}).items() if name not in gone} | self.sets | key


def activation(sealed: Item, shape: TableShape, standing: Iterable[str] = ()) -> Replacement:
    """Return what `core.protocol.keyed.writes.Activate` replaces.

    Args:
        sealed: the sealed image, in the names of the table that takes over.
        shape: of that table.
        standing: for an open shape, the attributes outside the protocol that stand there.
    """
    sets = build_image(sealed._replace(role=Role.ACTIVE, version=version_of(sealed) + 1), shape, {})
    mapped = standing if shape.attributes is None else shape.attributes
    own = (shape.ttl,) if shape.ttl else ()
    return Replacement(sets, tuple(name for name in (*mapped, *own, *CARRIED) if name not in sets))


def transferred(transfer: Transfer, shape: TableShape, found: Image | None) -> Replacement:
    """Return what a state transfer to an open shape replaces.

    Args:
        transfer: the mapped image at its version.
        shape: of the table written to.
        found: the item that stands there; None for a row that the transfer creates.
    """
    sets = transfer.image | {MV: wire.of_number(transfer.version)}
    if found is None:
        sets |= {ROLE: wire.of_string(Role.STANDBY.value), GEN: wire.of_number(transfer.first_standing)}
        return Replacement(sets, ())
    stays = {*shape.key, *sets, ROLE, GEN, shape.ttl}
    return Replacement(sets, tuple(name for name in found if name not in stays))
