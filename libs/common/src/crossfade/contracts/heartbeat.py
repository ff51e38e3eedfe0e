"""Which flag document each API pod is working under: written by the pods, read by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from crossfade.contracts.document import Document
from crossfade.core.ownership.ramp import FlagDocument, document_of_flag, flag_of_document
from crossfade.core.values.errors import ConfigError, UnknownDocument


class Heartbeat(Document, frozen=True):
    """One API pod's statement of the flag document it is working under.

    Attributes:
        pod: name of the process, unique per start.
        document: the flag document; no operation that began under an older one is still running.
        dual_write: value of the flag of that name.
        lease_s: how long the heartbeat is valid.
        beat_us: the pod's wall clock at the time of writing, µs.
        expired: set by the reader, once `beat_us` hasn't changed for `lease_s` on the reader's own clock. Never set on
            the first read: a dead pod then counts for one more lease, which is safe.
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
