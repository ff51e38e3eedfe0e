"""Who may do what at a door: the roles, and the answer to who is asking (ADR 0039)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

ANY: Final = "*"
"""In CROSSFADE_OPERATORS: each certificate of the authority."""


class Role(IntEnum):
    """What a caller may do. Each role may do what those before it may."""

    ANYONE = 0  # health and metrics: what a prober sees, who shows neither token nor certificate
    VIEWER = 1  # sees what is compared, with customers' values masked
    OPERATOR = 2  # commands, repairs, and reveals values


class Caller(NamedTuple):
    """Who is asking.

    Attributes:
        who: their name, as the journal will have it; "" where nobody tells.
        role: the highest one they have.
        how: which setting gives more, for the one who is refused.
    """

    who: str
    role: Role
    how: str = ""


class Certificates(NamedTuple):
    """Roles by the name of the client's certificate; without TLS, whoever reaches the port may do everything.

    Attributes:
        operators: names of certificates (CROSSFADE_OPERATORS); `ANY` stands for all.
        tls: whether clients must show a certificate.
    """

    operators: frozenset[str]
    tls: bool

    def caller(self, name: str) -> Caller:
        """Return who shows a certificate of this name; "" for none, or for one without a name."""
        if not (name or self.tls):
            return Caller("", Role.OPERATOR)
        if {name, ANY} & self.operators and (name or ANY in self.operators):
            return Caller(name, Role.OPERATOR)
        return Caller(
            name,
            Role.VIEWER,
            f"the certificate of {name or 'no name'} isn't one of those that CROSSFADE_OPERATORS names",
        )
