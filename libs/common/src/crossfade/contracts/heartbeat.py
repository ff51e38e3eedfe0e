"""The pods' words about the flag document they work under: written by API pods, read by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crossfade.contracts.document import Document
from crossfade.core.ownership.ramp import FlagDocument, document_of_flag, flag_of_document
from crossfade.core.values.errors import ConfigError, UnknownDocument


class Heartbeat(Document, frozen=True):
    """An API pod's word about the flag document it works under.

    Attributes:
        pod: name of the process, unique per start.
        document: the flag document; no operation begun under an older one is running.
        dual_write: the flag of that name.
        lease_s: how long the word counts.
        beat_us: wall clock of the pod when it wrote, µs.
        expired: judged by the reader: the beat stood still for lease_s on the reader's own clock. Never so at first
            sight: a dead pod counts for one lease time more, which is safe.
    """

    NAME: ClassVar[str] = "heartbeat"

    pod: str
    document: FlagDocument
    dual_write: bool
    lease_s: float
    beat_us: int
    expired: bool = False

    def to_dict(self) -> dict[str, Any]:
        """See `Document.to_dict`."""
        return super().to_dict() | {"document": flag_of_document(self.document)}

    @classmethod
    def of_dict(cls, body: Mapping[str, Any]) -> Heartbeat:
        """See `Document.of_dict`."""
        try:
            document = document_of_flag(body.get("document"))
        except ConfigError as error:
            raise UnknownDocument(f"a heartbeat's flag document: {error}") from error
        return super().of_dict({**body, "document": document})
