"""What became of sending a transfer: the table's judgement, or none.

The core judges (`Verdict`); a table also refuses for good what it can't hold, and may not have written at all. That is
not a judgement of the transfer, so it has a type of its own, which the core can't return.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from crossfade.core.protocol.writing import Unfit, Verdict


class NotSent(Enum):
    """Why a transfer is not written: the same one must be sent again."""

    THROTTLED = "throttled"


Sent: TypeAlias = Verdict | Unfit | NotSent
"""The table's judgement; a refusal for good, with the cause, which is parked; or not written yet."""

REFUSED: Final = "refused"
"""Name of a refusal for good, among the outcomes."""

WRITTEN: Final = (*(each.value for each in Verdict), REFUSED)
"""Outcomes of a write that the table answered, by name."""


def sent_name(sent: Sent) -> str:
    """Return the name under which an outcome is counted."""
    return REFUSED if isinstance(sent, Unfit) else sent.value
