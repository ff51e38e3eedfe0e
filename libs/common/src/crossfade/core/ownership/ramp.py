"""The flag document and the sticky ramp: which table a pod aims at for a key (design.md, section 4).

The flag only hints. It may be stale or differ between pods; the conditions of the writes decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import xxhash

from crossfade.core.protocol.seam import Aim
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side

FULL_SHARE: Final = 10_000
"""All keys: shares are counted in basis points."""


FLAG_VERSION: Final = 1
"""Raised with a change of meaning, as for every document between processes (ADR 0029)."""


class FlagDocument(NamedTuple):
    """What every pod should know; published whole, always as a new file.

    Attributes:
        share: keys that aim at the target table, in basis points (0 to 10,000).
        target_gen: generation of the keys within the share; even, as every generation that a flag carries.
        source_gen: generation of the others; even.
        complete: absent or missing role in the target table means active.
    """

    share: int = 0
    target_gen: int = 0
    source_gen: int = 0
    complete: bool = False


def ramp_point(key: Key) -> int:
    """Return the place of a key on the ramp, 0 to 9,999: the same in every pod, forever."""
    return xxhash.xxh3_64_intdigest(key, seed=1) % FULL_SHARE


def aim(document: FlagDocument, key: Key) -> Aim:
    """Say where a pod with this document aims for a key."""
    if ramp_point(key) < document.share:
        return Aim(Side.TARGET, document.target_gen)
    return Aim(Side.SOURCE, document.source_gen)


def next_generation(highest: int) -> int:
    """Return the lowest generation above `highest` that a flag may carry.

    Flags carry even generations only. The odd one above each is its give-back: what a key gets that was sealed for the
    even one and refused by the table it was meant for (ADR 0014). So an odd number found in a row is rounded up.
    """
    return highest + 2 - highest % 2


def flag_of_document(document: FlagDocument) -> dict[str, Any]:
    """Return the value of the flag `ownership`, JSON-ready; `document_of_flag` reads it."""
    return {"v": FLAG_VERSION, **document._asdict()}


def document_of_flag(value: object) -> FlagDocument:
    """Read the value of the flag `ownership`: the one place that says what each value means.

    A number is a whole JSON number: `"5000"`, `null`, `true` and `5000.0` are not, and a share beyond all keys means
    nothing. A missing field is not its default: whoever left it out may have meant another. A field that this version
    doesn't know is left alone, since a newer controller may publish it.

    Args:
        value: as decoded from JSON.

    Raises:
        ConfigError: names the invalid field, and says what it should be.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"ownership is {value!r}: an object with {', '.join(FlagDocument._fields)} is needed")
    version = value.get("v", 1)
    if type(version) is not int or version > FLAG_VERSION:
        raise ConfigError(
            f"ownership.v is {version!r}: this build reads up to {FLAG_VERSION}; run the build that wrote it, or a "
            "newer one"
        )
    missing = [name for name in FlagDocument._fields if name not in value]
    if missing:
        raise ConfigError(f"ownership has no {', '.join(missing)}")
    share, target_gen, source_gen, complete = (value[name] for name in FlagDocument._fields)
    if type(share) is not int or not 0 <= share <= FULL_SHARE:
        raise ConfigError(f"ownership.share is {share!r}: a whole number from 0 to {FULL_SHARE} is needed")
    for name, generation in (("target_gen", target_gen), ("source_gen", source_gen)):
        if type(generation) is not int or generation < 0:
            raise ConfigError(f"ownership.{name} is {generation!r}: a whole number from 0 up is needed")
    if type(complete) is not bool:
        raise ConfigError(f"ownership.complete is {complete!r}: true or false is needed")
    return FlagDocument(share, target_gen, source_gen, complete)


def check_generations(document: FlagDocument) -> FlagDocument:
    """Return a document whose generations are even, as they all are.

    An odd one would be taken for a give-back: a seal of it for a fence, and acknowledged writes would be lost.

    Raises:
        ConfigError: one is odd: version 0.1 published it.
    """
    odd = [each for each in (document.target_gen, document.source_gen) if each % 2]
    if odd:
        raise ConfigError(
            f"the flag document carries generation {odd[0]}, which is odd: its migration was begun by version 0.1; "
            "finish or abort it with that version"
        )
    return document


def renewed(document: FlagDocument, counter: int) -> FlagDocument:
    """Return the document with a higher generation of the target table: keys that were held out are taken up again."""
    highest = max(counter, document.target_gen, document.source_gen)
    return document._replace(target_gen=next_generation(highest))


def raised(document: FlagDocument, share: int, counter: int) -> tuple[FlagDocument, int]:
    """Return the document that moves the share, and the counter of generations after it.

    Raising keeps both generations, unless the last move went down: then `target_gen` is lifted above `source_gen`.
    Lowering lifts `source_gen` above `target_gen`, so that keys outside the target share are handed back. One
    generation has one target forever, so each lift takes a new number from the counter, which the caller stores durably
    before it publishes.

    Args:
        document: the document in force.
        share: the share wanted, in basis points.
        counter: the highest generation ever given out for this source table.

    Raises:
        ConfigError: the share is not 0 to 10,000.
    """
    if not 0 <= share <= FULL_SHARE:
        raise ConfigError(f"share must be 0 to {FULL_SHARE} basis points, not {share}")
    highest = max(counter, document.target_gen, document.source_gen)
    following = next_generation(highest)
    if share < document.share:
        return document._replace(share=share, source_gen=following), following
    if share > document.share and document.target_gen <= document.source_gen:
        return document._replace(share=share, target_gen=following), following
    return document._replace(share=share), highest


def lost_by(document: FlagDocument, in_place: FlagDocument) -> str:
    """Say what publishing a document over the one in place would take back; empty when nothing (ADR 0018).

    Both generations only rise, and `complete` never ends: a document that breaks this was not made from the history
    that made the one in place. The share goes both ways; under equal generations it only hints.

    Args:
        document: to be published.
        in_place: what the pods read now.
    """
    if in_place.complete and not document.complete:
        return "complete would be taken back"
    for name in ("target_gen", "source_gen"):
        wanted, found = getattr(document, name), getattr(in_place, name)
        if wanted < found:
            return f"{name} would fall from {found} to {wanted}"
    return ""
