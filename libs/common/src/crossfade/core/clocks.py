"""Two kinds of time that must never meet: commit times, and our own clock (ADR 0019).

    CommitUs     when a table took a write, µs since the epoch, read from the change record of that write. Only commit
                 times of the same table are compared: two tables, or two records of one key, are ordered by versions.
    monotonic    seconds of one process's own clock. Durations are differences of these, never of wall clocks.

A wall clock is neither. It dates what a person reads, and seeds a version that rises from there; nothing is decided by
comparing it. Where a moment of ours has to be compared with commit times, it is made one: by a marker, whose own record
says when the table took it.
"""

from __future__ import annotations

from typing import NewType

CommitUs = NewType("CommitUs", int)
"""A commit time, µs since the epoch. The type checker lets no wall clock (a plain int) pass for one."""
