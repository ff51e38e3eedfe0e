"""The journal's entries: written by the controller, the CLI and repairs, read by all of them and by the replicator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crossfade.contracts.document import Document


class Entry(Document, frozen=True):
    """One journal entry.

    Attributes:
        number: 1, 2, 3 …, without gaps.
        kind: "phase", "intent", "gate", "share", "generation", "snapshot", "note", "repair" …
        at_us: wall clock of the writer, µs.
        who: the writer: user or pod.
        code: version of the code that wrote it.
        body: JSON-ready evidence; 64-bit versions as strings.
    """

    NAME: ClassVar[str] = "journal entry"

    number: int
    kind: str
    at_us: int
    who: str
    code: str
    body: Mapping[str, Any]
