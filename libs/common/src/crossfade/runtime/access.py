"""Finds out who asks at a door, and what they may do (ADR 0039).

no TLS                  whoever reaches the port may do everything: it is this machine's, or fenced off
TLS                     the client's certificate: an operator's if CROSSFADE_OPERATORS names it, else a viewer's
"""

from __future__ import annotations

from crossfade.runtime.access_settings import GuardedSettings
from crossfade.runtime.roles import Caller, Certificates


class ByCertificate:
    """Asks nothing but the certificate."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    async def caller(self, certificate: str, authorization: str | None) -> Caller:  # noqa: ARG002 - of the protocol
        """See `crossfade.runtime.http.Access`."""
        return self._certificates.caller(certificate)


def access_of(settings: GuardedSettings) -> ByCertificate:
    """Return what finds out who asks at a service's door."""
    return ByCertificate(Certificates(frozenset(settings.operators), settings.tls is not None))
