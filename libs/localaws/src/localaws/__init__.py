"""The embedded AWS: an emulator and a real Redis-compatible server, on loopback only."""

from localaws.endpoints import Endpoints
from localaws.stack import Stack, StartFailed

__all__ = ["Endpoints", "Stack", "StartFailed"]
