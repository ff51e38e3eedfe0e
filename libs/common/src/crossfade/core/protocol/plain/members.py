"""A member: a process that may write a standby row under the plain protocol, as its last beat says."""

from __future__ import annotations

from typing import NamedTuple


class Member(NamedTuple):
    """One member, as its last beat says.

    Attributes:
        name: of the process, unique for its life.
        duty: "forward", "reverse", "repair", "redrive", "load" or "tail".
        acked: the epoch it acknowledged last; 0 for none.
        unanswered_s: for how long the oldest request that it sent has had no answer, at the beat; 0.0 for none.
        is_live: whether it beats, on the reader's own clock. One that died with a request unanswered is waited out
            (the signature limit) before a flip.
        silent_s: how long it hasn't beaten, on the reader's own clock.
        lease_s: how long a beat of it is valid: a request may be as young as that.
    """

    name: str
    duty: str
    acked: int
    unanswered_s: float
    is_live: bool
    silent_s: float
    lease_s: float = 0.0

    def left_s(self, signature_s: float) -> float:
        """Return for how long a request of its last moment may still take effect; 0.0 or less when none can.

        Args:
            signature_s: how old a signed request may be when DynamoDB still takes it.
        """
        return self.lease_s + signature_s - self.silent_s
