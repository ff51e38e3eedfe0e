"""What raw images say of version, role and generation, where decoding the whole item would cost too much."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from crossfade.core.protocol.keyed.item import GEN, MV, ROLE, Role, role_of
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Side, absent_is_active

_ACTIVE: Final = Role.ACTIVE
_USUAL: Final = Raw(b'{"S":"A"}')
"""How almost every active row spells it: compared as it is, nothing is copied."""


def raw_version(image: Image) -> int:
    """Return the version; 0 when there is none.

    Raises:
        PoisonRecord: it is not a number.
    """
    raw = image.get(MV)
    return 0 if raw is None else wire.number(raw)


def raw_generation(image: Image) -> int:
    """Return the generation; 0 when there is none.

    Raises:
        PoisonRecord: it is not a number.
    """
    raw = image.get(GEN)
    return 0 if raw is None else wire.number(raw)


def raw_role(image: Image) -> Role | None:
    """Return the role; None when there is none.

    Raises:
        PoisonRecord: there is no such role.
    """
    raw = image.get(ROLE)
    return None if raw is None else role_of(raw)


def is_raw_active(image: Image, side: Side) -> bool:
    """Say whether `side` owns the key, as far as this image tells: `is_active`, undecoded.

    Raises:
        PoisonRecord: there is no such role.
    """
    if image.get(ROLE) == _USUAL:
        return True
    role = raw_role(image)
    return absent_is_active(side) if role is None else role is _ACTIVE
