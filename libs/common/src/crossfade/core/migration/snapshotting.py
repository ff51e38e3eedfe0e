"""SNAPSHOT: export at a moment, map and filter, import into a new table or fill one that is there."""

from __future__ import annotations

import hashlib
from typing import Final

from crossfade.core.migration import deeds
from crossfade.core.migration.acts import Again, Answer, Begin, Enter, Finish, Wait, failed, waits_for
from crossfade.core.migration.asking import FRESH, RETAKE
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decision, Seen, done
from crossfade.core.migration.starting import not_excluded, settle
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.values.errors import SnapshotBroken
from crossfade.core.values.shape import Side

MARGIN_S: Final = 60
"""The stream is applied from that much before the export's moment: arrival and commit are of two clocks of AWS's."""

STEPS: Final = ("export-arn", "export", "map", "retake")
"""What a fresh export does once more."""


def snapshot(state: Migration, seen: Seen) -> Decision[Answer]:
    """SNAPSHOT: export at a moment, map and filter, import into a new table."""
    intent = state.asked(Intent.START)
    if intent is not None and intent.arguments.get(FRESH) and state.exported_again < intent.number:
        return (yield from _export_again(intent))
    for name, decide in (("export", _export), ("map", _map), ("import", _import)):
        if name not in state.done:
            return (yield from decide(state, seen))
    results = seen.judge(state.table.gates[state.phase])
    return waits_for(results) or Enter(state.phase, Phase.CATCHING_UP, results)


def _token(state: Migration, seen: Seen, what: str) -> str:
    """Return a token that is the same for the same step of the same phase, however often it is tried."""
    return hashlib.sha256(f"{seen.setup.migration} {what} {_round(state)}".encode()).hexdigest()[:32]


def _prefix(state: Migration, seen: Seen, what: str) -> str:
    return f"{seen.setup.bucket_prefix}/{seen.setup.migration}/{_round(state)}/{what}"


def _round(state: Migration) -> str:
    """Name the snapshot that is being taken: a fresh export must not find the files of the one before."""
    again = state.exported_again
    return f"{state.since_us}-{again}" if again else str(state.since_us)


def _export_again(intent: Pending) -> Decision[Answer]:
    """Begin the snapshot from its beginning, at a later moment, so that rows that were corrected since are in it.

    The stream has been carrying records since before the first moment, so a later one is as good. Only the keys that
    this command excludes are left out of it.
    """
    wanted = set(intent.arguments.get("exclude", []))
    refused = yield from not_excluded(intent)
    if refused is not None:
        return refused
    moment_us = yield from done(deeds.TakeMoment(Side.SOURCE, f"export {intent.number}"))
    told = {"intent": intent.number, "steps": STEPS, "moment_us": moment_us, "exclude": sorted(wanted)}
    return Again({**told, "who": intent.who})


def _export(state: Migration, seen: Seen) -> Decision[Answer]:
    if not seen.setup.bucket:
        return Wait("bucket", "CROSSFADE_BUCKET to be set")
    begun = state.begun.get("export")
    if begun is None:  # the moment is journaled before the call: a repeated call must ask for the same one
        at_s = int(state.facts["settled"]["moment_us"]) // 1_000_000
        return Begin("export", {"at_s": at_s, "prefix": _prefix(state, seen, "export")})
    at_s = int(begun["at_s"])
    if "export-arn" not in state.done:
        export = deeds.Export(at_s, str(begun["prefix"]), _token(state, seen, "export"))
        return Finish("export-arn", {"arn": (yield from done(export))})
    arn = str(state.done["export-arn"]["arn"])
    found = yield from done(deeds.LookAtExport(arn))
    if found.status == "FAILED":
        return failed(SnapshotBroken(f"the export {arn} failed: {found.failure}"))
    if found.status != "COMPLETED":
        return Wait("export", f"the export of {seen.setup.tables[Side.SOURCE]}, which is {found.status}")
    told = {"arn": arn, "at_s": at_s, "replay_from_s": at_s - MARGIN_S, "manifest": found.manifest}
    told |= {} if found.took_s is None else {"took_s": found.took_s}
    return Finish("export", told)


def _map(state: Migration, seen: Seen) -> Decision[Answer]:
    intent = state.asked(Intent.START)
    wanted = set(intent.arguments.get("exclude", [])) if intent else set()
    known = {key.decode() for key in state.excluded}
    if intent is not None and wanted - known:
        is_checked = intent.number < state.entered  # in PLANNED
        refused = None if is_checked else (yield from not_excluded(intent))
        # Another choice of rows makes other files: what was mapped before doesn't count.
        return refused or Finish("excluded", {"keys": sorted(wanted | known), "who": intent.who})
    if "map" not in state.begun:
        return Begin("map", {})
    retake = int(state.facts.get("retake", {}).get("intent", 0))
    if intent is not None and intent.arguments.get(RETAKE) and retake < intent.number:
        return Finish("retake", {"intent": intent.number, "who": intent.who})
    number = len(known)
    target = f"{_prefix(state, seen, 'import')}-{number}/"
    unmappable = f"{_prefix(state, seen, 'unmappable')}-{number}.jsonl.gz"
    mapped = yield from done(deeds.MapFiles(str(state.done["export"]["manifest"]), target, unmappable, retake))
    if mapped.stopped:
        return Wait("map", mapped.stopped)
    return Finish("map", {"prefix": target, "number": number, **mapped.evidence})


def _load(state: Migration) -> Decision[Answer]:
    """Fill a table that is there by writes: an insert of each row, which an existing row refuses."""
    mapped = state.done["map"]
    loaded = yield from done(deeds.Load(str(mapped["prefix"])))
    if loaded.stopped:
        return Wait("load", loaded.stopped)
    told = loaded.evidence
    landed = told["written"] + told["there"] + told["newer"]
    if landed != mapped["mapped"]:
        return failed(SnapshotBroken(f"{landed} rows were loaded, {mapped['mapped']} were mapped"))
    return Finish("import", {"by": "write", "imported": landed, **told})


def _import(state: Migration, seen: Seen) -> Decision[Answer]:
    mapped, name = state.done["map"], seen.setup.tables[Side.TARGET]
    if not mapped["mapped"]:
        because = (
            f"the export of {seen.setup.tables[Side.SOURCE]} has no row to move: of {mapped['read']} rows "
            f"{mapped['not_ours']} belong to others, {mapped['excluded']} are left out. When there are some: crossfade "
            "start --fresh-export --execute; to give up: crossfade abort"
        )
        intent = state.asked(Intent.START)
        return Wait("import", because) if intent is None else settle(intent, "refused", because)
    if "import" not in state.begun:
        return Begin("import", {"table": name, "prefix": mapped["prefix"], "by": seen.setup.load})
    if state.begun["import"].get("by") == "write":
        return (yield from _load(state))
    if "import-arn" not in state.done:
        token = _token(state, seen, "import")
        return Finish("import-arn", {"arn": (yield from done(deeds.Import(str(mapped["prefix"]), token)))})
    arn = str(state.done["import-arn"]["arn"])
    found = yield from done(deeds.LookAtImport(arn))
    if found.status in {"FAILED", "CANCELLED"} or found.errors:
        told = (
            f"the import {arn} is {found.status} with {found.errors} errors: {found.failure}. "
            f"{name} holds a part of the rows and owns none. Abort, and give the next migration another target table"
        )
        return failed(SnapshotBroken(told))
    if found.status != "COMPLETED":
        how_far = f"{found.imported} of {mapped['mapped']} items"
        return Wait("import", f"the import of {name}, which is {found.status} ({how_far})")
    if found.imported != mapped["mapped"]:
        told = f"{found.imported} items were imported into {name}, {mapped['mapped']} were mapped"
        return failed(SnapshotBroken(told))
    if not found.is_active:
        return Wait("import", f"table {name} to be ACTIVE")
    return Finish("import", {"arn": arn, "imported": found.imported})
