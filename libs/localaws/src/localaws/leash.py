"""Run a program that is ended when its parent ends, however the parent ends.

A parent that is killed can't stop its children, and a server that nobody stops keeps its port. Linux
offers to signal a child at its parent's death. The setting survives `exec`, so this file sets it and
becomes the program. Elsewhere the program runs without a leash.

Run by path, with an interpreter that loads no site packages, to start in milliseconds:
`python -ES leash.py PARENT_PID PROGRAM ARGUMENT…`
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def leashed(command: list[str]) -> list[str]:
    """Return the command that runs `command` on a leash held by this process.

    Linux ties the leash to the thread that starts the child: start it from one that lives as long as
    the child shall.
    """
    return [sys.executable, "-ES", str(Path(__file__)), str(os.getpid()), *command]


def main(parent_pid: int, command: list[str]) -> None:
    """Become `command`, on a leash held by `parent_pid`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:  # it ended before the leash was on
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # no shell is wanted: the arguments are a list


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
