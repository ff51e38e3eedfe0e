"""The control tables: their names and key layout, defined once (design.md, section 2).

Every control table has the same key: `pk` and `sk`, both strings. `adapters/control` makes and fills them; the records
kept in them are those of `crossfade.ports.control`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from crossfade.core.errors import ConfigError

PK: Final = "pk"
SK: Final = "sk"
KEY: Final = (PK, SK)

ROLES: Final = ("forward", "reverse", "feed-legacy", "feed-new")
"""The stream consumers that report and park."""

JOURNAL_PK: Final = "journal"
HEARTBEAT_PK: Final = "heartbeat"
REPORT_PK: Final = "report"
LEASE_PK: Final = "lease"
STATUS_PK: Final = "status"

CONTROLLER_LEASE: Final = "controller"
"""Sort key of the lease that lets one controller write the journal."""

_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,200}")


class ControlTables(NamedTuple):
    """Names of one migration's control tables.

    Attributes:
        journal: what was decided, and on what evidence; append-only.
        leases: who drives (the controller), and who reads which shard (the stream consumers: pk "<stream>#<group>",
            sk the shard id).
        heartbeats: which pod works under which flag document.
        reports: what each stream consumer says of each shard.
        dead_letters: records that could not be applied, and strays, with their payload.
    """

    journal: str
    leases: str
    heartbeats: str
    reports: str
    dead_letters: str


def control_tables(migration: str) -> ControlTables:
    """Return the names for a migration.

    Args:
        migration: the mapping's name.

    Raises:
        ConfigError: the name can't be part of a table name.
    """
    if not _NAME.fullmatch(migration):
        raise ConfigError(f"migration name {migration!r}: 1 to 200 of a-z, A-Z, 0-9, '_', '.' and '-' only")
    return ControlTables(
        journal=f"{migration}-journal",
        leases=f"{migration}-leases",
        heartbeats=f"{migration}-heartbeats",
        reports=f"{migration}-reports",
        dead_letters=f"{migration}-dead-letters",
    )


def journal_sk(number: int) -> str:
    """Return the sort key of a journal entry: 20 digits, so that text order is number order."""
    return f"{number:020d}"


def report_sk(role: str, shard: str) -> str:
    """Return the sort key of a consumer's report on one shard."""
    return f"{role}#{shard}"


def letters_pk(role: str) -> str:
    """Return the partition of a consumer's dead letters; the sort key is the letter's sequence.

    Raises:
        ConfigError: no consumer has that role, so nobody would find the letter again.
    """
    if role not in ROLES:
        raise ConfigError(f"unknown role {role!r}: one of {', '.join(ROLES)}")
    return f"letter#{role}"


def strays_pk(role: str, *, settled: bool) -> str:
    """Return the partition of a consumer's letters about strays: those that wait for a person, or the settled ones.

    They have partitions of their own, since a writer outside the protocol can make very many of them.

    Raises:
        ConfigError: as `letters_pk`.
    """
    return ("settled#" if settled else "stray#") + letters_pk(role)


def parts_pk(role: str) -> str:
    """Return the partition of payload parts that don't fit a letter's own item; sort key "<sequence>#<part>"."""
    return f"part#{role}"
