"""Named points at which a test lets the process die by SIGKILL, as if the power went."""

from __future__ import annotations

import os
import signal
from typing import Final

from crossfade.core.values.errors import ConfigError

POINTS: Final = (
    "before-write",
    "between-writes",
    "after-write-before-mark",
    "after-mark-before-ack",
    "after-ack-before-checkpoint",
)


class KillPoints:
    """Dies at one point, the n-th time it is reached. Without one it does nothing."""

    def __init__(self, armed: str = "") -> None:
        """Arm a point.

        Args:
            armed: "after-write-before-mark", or "after-write-before-mark:3" for the third time; empty for none.

        Raises:
            ConfigError: there is no such point.
        """
        self._name, _, count = armed.partition(":")
        if self._name and self._name not in POINTS:
            raise ConfigError(f"CROSSFADE_KILL_AT={armed}: no such point; choose one of: {', '.join(POINTS)}")
        if count and not count.isdigit():
            raise ConfigError(f"CROSSFADE_KILL_AT={armed}: what follows the colon must be a number")
        self._left = int(count or 1)

    def reached(self, name: str) -> None:
        """Die here, if this is the point and the time."""
        if name != self._name:
            return
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
