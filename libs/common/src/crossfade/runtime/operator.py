"""Who gives a command: the name that journal entries of operators carry."""

from __future__ import annotations

import getpass
import os
import socket


def operator_name() -> str:
    """Return user@host; in a container whose user has no name, its number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the second one
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
