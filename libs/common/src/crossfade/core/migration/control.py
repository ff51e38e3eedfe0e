"""The control tables: their names and key layout, defined once (design.md, section 2).

Every control table has the same key: `pk` and `sk`, both strings. Terraform or `crossfade control create` makes them,
and no service does (ADR 0018); the records kept in them are those of `crossfade.ports.control`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from crossfade.core.values.errors import ConfigError

PK: Final = "pk"
SK: Final = "sk"

CONSUMERS: Final = ("forward", "reverse", "feed-source", "feed-target")
"""The stream consumers that report and park."""

JOURNAL_PK: Final = "journal"
HEARTBEAT_PK: Final = "heartbeat"
REPORT_PK: Final = "report"
LEASE_PK: Final = "lease"
STATUS_PK: Final = "status"

PASSES_PK: Final = "passes"
"""Records of the verifier's passes, in the table of reports; sort key the pass's id. All else of passes is in
partitions that begin with "pass-", on which the verifier's IAM policy relies."""

RUNNING_PK: Final = "pass-running"
"""Partition and sort key of the item that names the pass that has not ended."""

REPAIRS_PK: Final = "repairs"
"""Records of repairs, in the table of reports; sort key the id. All else of repairs is in partitions that begin with
"repair-", on which the verifier's IAM policy relies."""

OWNER_PK: Final = "owner"
"""Partition and sort key of the plain protocol's map item, in the table of the journal."""

MEMBER_PK: Final = "member"
"""Members of the plain protocol, in the table of reports; sort key the member's name."""

CONTROLLER_LEASE: Final = "controller"
"""Sort key of the lease that lets one controller write the journal."""

_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,200}")


class ControlTables(NamedTuple):
    """Names of one migration's control tables.

    Attributes:
        journal: what was decided, and on what evidence; append-only. Beside it the plain protocol's map item, which
            is replaced.
        leases: who drives (the controller), and who reads which shard (the stream consumers: pk "<stream>#<group>",
            sk the shard id).
        heartbeats: which pod works under which flag document.
        reports: what each stream consumer says of each shard; and the verifier's passes and repairs, the plain
            protocol's members, and its list of tombstones, in partitions of their own.
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


CREATE: Final = "crossfade control create --execute"
"""Makes the control tables, for a first start."""


def restoring(table: str) -> str:
    """Return the command that brings a deleted control table back as it was when it was deleted.

    DynamoDB keeps a system backup of a deleted table for 35 days if point-in-time recovery was on (developer guide,
    "Enable point-in-time recovery": deleting a table with PITR enabled).
    """
    return (
        f"aws dynamodb restore-table-from-backup --target-table-name {table} --backup-arn "
        f'"$(aws dynamodb list-backups --table-name {table} --backup-type SYSTEM '
        "--query 'BackupSummaries[-1].BackupArn' --output text)\""
    )


def missing_because(tables: ControlTables, missing: Sequence[str], traces: Sequence[str] = ()) -> str:
    """Say what it means that control tables are missing, and the cure; empty when none is.

    Args:
        tables: the migration's.
        missing: names of those that don't exist.
        traces: what shows that the migration, or another with the same tables, has run before.
    """
    if not missing:
        return ""
    names = ", ".join(missing)
    cure = f"restore {'it' if len(missing) == 1 else 'each'}: {restoring(missing[0])}; then {CREATE} protects it again"
    there = [name for name in tables if name not in missing]
    if there:
        shown = f" ({'; '.join(traces)})" if traces else ""
        return (
            f"control table {names} is missing, {', '.join(there)} exist{shown}: an empty one would forget what was "
            f"decided; {cure}. If an earlier `control create` was cut short, run it again: it never recreates a table "
            "that has something to remember"
        )
    if traces:
        return (
            f"no control table of this migration exists ({names}), but {'; '.join(traces)}. Either the migration's "
            f"name is mistyped: check the mapping's; or the tables were deleted: {cure}"
        )
    return f"no control table of this migration exists ({names}): for a first start, {CREATE}"


def begun_before(journal: str, traces: Sequence[str]) -> str:
    """Say why an empty journal doesn't begin a history, and the cure.

    Args:
        journal: name of its table.
        traces: what shows that a history has begun.
    """
    return (
        f"{journal} has no migration, but {'; '.join(traces)}. Either the migration's name is mistyped: check the "
        f"mapping's; or {journal} was recreated after it was lost: restore it (under another name first if this one "
        f"must stay): {restoring(journal)}"
    )


def journal_sk(number: int) -> str:
    """Return the sort key of a journal entry: 20 digits, so that text order is number order."""
    return f"{number:020d}"


def report_sk(consumer: str, shard: str) -> str:
    """Return the sort key of a consumer's report on one shard."""
    return f"{consumer}#{shard}"


def letters_pk(consumer: str) -> str:
    """Return the partition of a consumer's dead letters; the sort key is the letter's sequence.

    Raises:
        ConfigError: no consumer has that consumer, so nobody would find the letter again.
    """
    if consumer not in CONSUMERS:
        raise ConfigError(f"unknown consumer {consumer!r}: one of {', '.join(CONSUMERS)}")
    return f"letter#{consumer}"


def strays_pk(consumer: str, *, settled: bool) -> str:
    """Return the partition of a consumer's letters about strays: those that need a human decision, or the settled ones.

    They have partitions of their own, since a writer outside the protocol can make very many of them.

    Raises:
        ConfigError: as `letters_pk`.
    """
    return ("settled#" if settled else "stray#") + letters_pk(consumer)


def parts_pk(consumer: str) -> str:
    """Return the partition of payload parts that don't fit a letter's own item; sort key "<sequence>#<part>"."""
    return f"part#{consumer}"


def units_pk(pass_id: str) -> str:
    """Return the partition of a pass's units: their leases and progress. Sort key: `unit_sk`."""
    return f"pass-unit#{pass_id}"


def unit_sk(kind: str, number: int) -> str:
    """Return the sort key of a unit."""
    return f"{kind}#{number:06d}"


def pass_parts_pk(pass_id: str) -> str:
    """Return the partition of what checkpoints and spilled rows of a pass consist of; sort key `pass_part_sk`."""
    return f"pass-part#{pass_id}"


def pass_blobs_pk(pass_id: str) -> str:
    """Return the partition that lists a pass's spilled blobs; sort key the blob's name."""
    return f"pass-blob#{pass_id}"


def pass_results_pk(pass_id: str) -> str:
    """Return the partition of what a pass's result consists of; sort key `pass_part_sk`."""
    return f"pass-result#{pass_id}"


def repair_pk(repair: str) -> str:
    """Return the partition of a repair's steps and of what became of them; sort key `repair_sk`."""
    return f"repair-steps#{repair}"


def repair_sk(kind: str, chunk: int) -> str:
    """Return the sort key of a chunk of a repair. Args: kind: "steps", "outcomes"; chunk: its number."""
    return f"{kind}#{chunk:07d}"


def tombstones_pk(side: str, part: int) -> str:
    """Return one of the partitions that list a table's tombstones; sort key the key's digest."""
    return f"tombstone#{side}#{part:02d}"


def pass_part_sk(written: str, number: int) -> str:
    """Return the sort key of a part.

    Args:
        written: id of the one write that the part belongs to.
        number: of the part, from 0.
    """
    return f"{written}#{number:06d}"
