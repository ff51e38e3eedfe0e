"""The one tree of errors. What a caller needs to know about a retry is on the error itself."""

from __future__ import annotations


class CrossfadeError(Exception):
    """Any error that Crossfade raises on purpose.

    Attributes:
        code: stable, for machines: gRPC details, logs and dead letters carry it.
        retryable: whether the same call may succeed later.
        retry_after_s: how long to wait before it, in seconds; None where any back-off will do.
    """

    code: str = "internal"
    retryable: bool = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ConfigError(CrossfadeError):
    """A setting is missing or wrong; the message names it and the cure."""

    code = "config"


class Throttled(CrossfadeError):
    """The store asks for fewer calls."""

    code = "throttled"
    retryable = True


class StoreUnavailable(CrossfadeError):
    """The store did not answer, or answered with a fault of its own. The outcome of a write is unknown."""

    code = "store_unavailable"
    retryable = True


class Unavailable(CrossfadeError):
    """This process can't serve the call right now. Nothing was done; another one, or a later try, may."""

    code = "unavailable"
    retryable = True


class StoreRefused(CrossfadeError):
    """The store will never accept this request: it is wrong, or not allowed.

    Attributes:
        reason: the store's own error type, bare ("ValidationException").
    """

    code = "store_refused"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnknownDocument(CrossfadeError):
    """This build can't read what another process left; the message names the document and the cure."""

    code = "unknown_document"


class StateMissing(CrossfadeError):
    """What the migration remembers is gone, or older than what it has done: nothing begins or goes on without it.

    Retryable, since a restored table ends it; the message names what is missing and the way to get it back.
    """

    code = "state_missing"
    retryable = True


class LeaseLost(CrossfadeError):
    """Another worker holds the lease now: stop at once, and write nothing more under it."""

    code = "lease_lost"


class CheckpointExpired(CrossfadeError):
    """The stream no longer holds the record after the checkpoint: records were lost to retention."""

    code = "checkpoint_expired"


class IllegalTransition(CrossfadeError):
    """The phase table has no such transition."""

    code = "illegal_transition"


class MigrationPaused(CrossfadeError):
    """An operator paused the migration: nothing of it is written until somebody resumes it (ADR 0017)."""

    code = "paused"


class PoisonRecord(CrossfadeError):
    """A change record that can never be applied: it is parked with its payload."""

    code = "poison_record"


class SnapshotBroken(CrossfadeError):
    """The export or the import is incomplete: a file is missing or damaged, or counts don't add up."""

    code = "snapshot_broken"


class KeyNotServed(CrossfadeError):
    """One key can't be served until the cause that the message names is removed. The others are."""

    code = "key_not_served"


class OwnershipAmbiguous(CrossfadeError):
    """The owner of a key can't be determined: needs a human decision, and no retry helps."""

    code = "ownership_ambiguous"
