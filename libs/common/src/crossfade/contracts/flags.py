"""The flag document as it is published and repeated: written by the controller, read by everybody.

Only the controller writes it, whole, so a field that a reader doesn't know is ignored and needs no keeping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crossfade.contracts.document import Document
from crossfade.core.ownership.ramp import FlagDocument


class Ownership(Document, frozen=True):
    """The flag `ownership`; `crossfade.core.ownership.ramp.FlagDocument` says what its fields mean."""

    NAME: ClassVar[str] = "flag document"

    share: int
    new_gen: int
    legacy_gen: int
    complete: bool


def ownership_body(document: FlagDocument) -> dict[str, Any]:
    """Return a flag document, JSON-ready."""
    return Ownership(*document).to_dict()


def ownership_of(body: Mapping[str, Any]) -> FlagDocument:
    """Read what `ownership_body` gave.

    Raises:
        UnknownDocument: it is none, or of a version that this build can't read.
    """
    read = Ownership.of_dict(body)
    return FlagDocument(read.share, read.new_gen, read.legacy_gen, read.complete)
