"""Journal entries: written by the controller, the CLI and the verifier's repairs; read by these and the replicator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crossfade.contracts.document import Document


class Entry(Document, frozen=True):
    """One journal entry.

    Attributes:
        number: 1, 2, 3 …, without gaps.
        kind: "phase", "intent", "share" …: see journal.md.
        at_us: the writer's wall clock, µs.
        who: the user or pod that wrote it.
        code: version of the code that wrote it.
        body: the evidence, ready for JSON; 64-bit versions are strings.
    """

    NAME: ClassVar[str] = "journal entry"

    number: int
    kind: str
    at_us: int
    who: str
    code: str
    body: Mapping[str, Any]
