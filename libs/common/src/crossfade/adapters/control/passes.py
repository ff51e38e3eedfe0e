"""The verifier's passes in DynamoDB, in the table of reports: one that runs, units under leases, checkpoints, results.

    begin    transaction: nothing is running -> it is named as running, its record is there
    claim    transaction: it is named as running; the unit's counter and beat are as watched -> counter and beat rise
    save     parts first; then the unit names them, if holder and counter are its own; then the old parts are removed
    end      transaction: the record's revision is as it was read -> ended, and no pass is named as running
    forget   units, parts, blobs; then the record says so

A write whose answer was lost is sent again by the wire client, and then finds its own work by the nonce of that write:
not by its holder, since two tasks of one process may be after the same unit.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Raw

from crossfade.adapters.control.parts import TRIES, Parts, TableBlobs, Written
from crossfade.adapters.control.rows import BODY, delete_request, encode, key_of, query_request, text_of
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed, TransactionCanceled
from crossfade.contracts.passes import HISTORY, PassRecord, UnitRecord, fresh_units, surplus
from crossfade.core.migration.control import (
    PASSES_PK,
    RUNNING_PK,
    pass_parts_pk,
    pass_results_pk,
    unit_sk,
    units_pk,
)
from crossfade.core.values import image as wire
from crossfade.core.values.errors import IllegalTransition, LeaseLost, StoreUnavailable
from crossfade.core.values.image import Image
from crossfade.ports.passes import HEAD_BYTES

_RUNNING_KEY: Final = key_of(RUNNING_PK, RUNNING_PK)
_HELD: Final = "holder = :holder AND leased = :counter"
_REFUSED: Final = "ConditionalCheckFailed"


class Blobs(Protocol):
    """Where spilled rows are kept: `TableBlobs` or `ObjectBlobs`."""

    async def put(self, pass_id: str, name: str, content: bytes) -> None:
        """Keep a blob."""
        ...

    async def names(self, pass_id: str, prefix: str) -> list[str]:
        """List blobs."""
        ...

    async def get(self, pass_id: str, name: str) -> bytes | None:
        """Return a blob."""
        ...

    async def forget(self, pass_id: str) -> None:
        """Remove all blobs of a pass."""
        ...


class DynamoPassStore:
    """`crossfade.ports.passes.PassStore` on a control table."""

    def __init__(self, db: DynamoDB, table: str, *, blobs: Blobs | None = None) -> None:
        """Take the client, the table's name, and where spilled rows are kept; None: in the same table."""
        self._db, self._table = db, table
        self._parts = Parts(db, table)
        self._blobs: Blobs = blobs or TableBlobs(db, table)

    async def begin(self, record: PassRecord) -> PassRecord:
        """See `PassStore.begin`."""
        named = _RUNNING_KEY | {"pass": wire.of_string(record.id)}
        for _ in range(TRIES):
            try:
                await self._transact(
                    self._put(named, "attribute_not_exists(pk)"),
                    self._put(_row(record, None), "attribute_not_exists(pk)"),
                )
            except TransactionCanceled as error:
                if not _is_refused(error):
                    raise
                there = await self.running()
                if there is not None:
                    return there
                if await self.get(record.id) is not None:
                    raise IllegalTransition(f"pass {record.id} has already been: a new pass needs a new id") from error
            else:
                return record
        raise StoreUnavailable(f"{self._table}: passes begin and end too fast to begin {record.id}")

    async def running(self) -> PassRecord | None:
        """See `PassStore.running`."""
        for _ in range(TRIES):
            named = await self._db.get_item(self._table, _RUNNING_KEY)
            if named is None:
                return None
            record = await self.get(wire.string(named["pass"]))
            if record is not None and not record.ended:
                return record
            # It ended between the two reads: another may run by now.
        raise StoreUnavailable(f"{self._table}: what is named as running has ended, time after time")

    async def change(self, record: PassRecord, result: bytes | None = None) -> PassRecord | None:
        """See `PassStore.change`."""
        before = await self._db.get_item(self._table, key_of(PASSES_PK, record.id))
        if before is None:
            return None
        was = _record_of(before)
        if was.revision != record.revision:
            return None
        if was.ended and not record.ended:
            raise IllegalTransition(f"pass {record.id} has ended ({was.state}): it can't be {record.state} again")
        pk, old = pass_results_pk(record.id), Written.of_row(before)
        written = old if result is None else await self._parts.write(pk, result)
        changed = record.replace(revision=record.revision + 1)
        row = _row(changed, written)
        # What runs is named for as long as it runs: the same transaction ends both.
        if not await self._replace(row, record.revision, ends=record.ended and not was.ended):
            if result is not None and written is not None:
                await self._parts.remove(pk, written)
            return None
        if result is not None and old is not None:
            await self._parts.remove(pk, old)
        return changed

    async def get(self, pass_id: str) -> PassRecord | None:
        """See `PassStore.get`."""
        row = await self._db.get_item(self._table, key_of(PASSES_PK, pass_id))
        return None if row is None else _record_of(row)

    async def result(self, pass_id: str) -> bytes | None:
        """See `PassStore.result`."""
        return await self._content(key_of(PASSES_PK, pass_id), pass_results_pk(pass_id), f"result of pass {pass_id}")

    async def history(self, limit: int = HISTORY) -> list[PassRecord]:
        """See `PassStore.history`."""
        return await self._history(limit)

    async def units(self, record: PassRecord) -> list[UnitRecord]:
        """See `PassStore.units`."""
        taken: dict[tuple[str, int], UnitRecord] = {}
        start = None
        while True:
            page = await self._db.query(query_request(self._table, units_pk(record.id), start=start))
            taken |= {(each.kind, each.number): each for each in map(_unit_of, page.items)}
            start = page.next_key
            if start is None:
                return [taken.get((each.kind, each.number), each) for each in fresh_units(record)]

    async def claim(self, unit: UnitRecord, holder: str) -> UnitRecord | None:
        """See `PassStore.claim`."""
        if unit.state == "done":
            return None
        mine = unit.replace(holder=holder, counter=unit.counter + 1, beat=unit.beat + 1)
        runs = {
            "TableName": self._table,
            "Key": _RUNNING_KEY,
            "ConditionExpression": "#pass = :pass",
            "ExpressionAttributeNames": {"#pass": "pass"},
            "ExpressionAttributeValues": {":pass": {"S": unit.pass_id}},
        }
        nonce = wire.of_string(secrets.token_hex(8))
        take = self._first(mine, nonce) if unit.counter == 0 else self._take(unit, mine, nonce)
        try:
            await self._transact({"ConditionCheck": runs}, take)
        except TransactionCanceled as error:
            there = await self._db.get_item(self._table, _unit_key(unit))
            if there is not None and bytes(there["nonce"]) == bytes(nonce):
                return _unit_of(there)  # an attempt whose answer was lost had done it
            if not _is_refused(error):
                raise
            return None
        return mine

    async def beat(self, unit: UnitRecord) -> UnitRecord:
        """See `PassStore.beat`."""
        return _unit_of(await self._hold(unit, "SET beat = beat + :one", {":one": {"N": "1"}}, give="ALL_NEW"))

    async def release(self, unit: UnitRecord) -> None:
        """See `PassStore.release`."""
        nobody = {":one": {"N": "1"}, ":nobody": {"S": ""}}
        try:
            await self._hold(unit, "SET beat = beat + :one, holder = :nobody", nobody)
        except LeaseLost:
            return

    async def save(
        self, unit: UnitRecord, head: Mapping[str, Any], body: bytes, *, saved_us: int, done: bool = False
    ) -> UnitRecord:
        """See `PassStore.save`."""
        if len(text_of(head)) > HEAD_BYTES:
            raise ValueError(f"{_name(unit)}: a head of more than {HEAD_BYTES} bytes; what is large goes into the body")
        pk = pass_parts_pk(unit.pass_id)
        written = await self._parts.write(pk, body)
        saved = unit.replace(head=dict(head), saved_us=saved_us, state="done" if done else "open")
        row = written.to_row() | {BODY: wire.of_string(saved.to_text())}
        sets = ", ".join(["beat = beat + :one", *(f"#{each} = :{each}" for each in row)])
        values = {":one": {"N": "1"}} | {f":{each}": value for each, value in row.items()}
        try:
            before = await self._hold(
                unit, f"SET {sets}", values, names={f"#{each}": each for each in row}, give="ALL_OLD"
            )
        except LeaseLost:
            await self._parts.remove(pk, written)
            raise
        old = Written.of_row(before)
        if old is not None and old.id != written.id:
            await self._parts.remove(pk, old)
        return saved.replace(beat=wire.number(before["beat"]) + 1)

    async def body(self, unit: UnitRecord) -> bytes | None:
        """See `PassStore.body`."""
        return await self._content(_unit_key(unit), pass_parts_pk(unit.pass_id), f"checkpoint of {_name(unit)}")

    async def put_blob(self, pass_id: str, name: str, content: bytes) -> None:
        """See `PassStore.put_blob`."""
        await self._blobs.put(pass_id, name, content)

    async def blobs(self, pass_id: str, prefix: str = "") -> list[str]:
        """See `PassStore.blobs`."""
        return await self._blobs.names(pass_id, prefix)

    async def blob(self, pass_id: str, name: str) -> bytes | None:
        """See `PassStore.blob`."""
        return await self._blobs.get(pass_id, name)

    async def forget(self, pass_id: str) -> None:
        """See `PassStore.forget`."""
        while True:
            record = await self.get(pass_id)
            if record is not None and not record.ended:
                raise IllegalTransition(f"pass {pass_id} is {record.state}: only what has ended is forgotten")
            await self._clear(pass_id)
            if record is None or record.forgotten or await self.change(record.replace(forgotten=True)) is not None:
                break
        for each in surplus(await self._history(None)):
            await self._clear(each.id)  # again: a holder that had lost its lease may have left something
            await self._parts.clear(pass_results_pk(each.id))
            await self._db.delete_item(delete_request(self._table, key_of(PASSES_PK, each.id)))

    async def _clear(self, pass_id: str) -> None:
        await self._parts.clear(units_pk(pass_id))
        await self._blobs.forget(pass_id)
        await self._parts.clear(pass_parts_pk(pass_id))

    async def _history(self, limit: int | None) -> list[PassRecord]:
        found: list[PassRecord] = []
        start = None
        while limit is None or len(found) < limit:
            left = None if limit is None else limit - len(found)
            page = await self._db.query(query_request(self._table, PASSES_PK, backward=True, limit=left, start=start))
            found += map(_record_of, page.items)
            start = page.next_key
            if start is None:
                break
        return found

    async def _content(self, key: Image, pk: str, what: str) -> bytes | None:
        for _ in range(TRIES):
            written = Written.of_row(await self._db.get_item(self._table, key))
            if written is None:
                return None
            content = await self._parts.read(pk, written)
            if content is not None:
                return content
            # It was replaced between the two reads: the item names another one by now.
        raise StoreUnavailable(f"{self._table}: parts of the {what} are missing")

    async def _hold(
        self,
        unit: UnitRecord,
        update: str,
        values: Mapping[str, object],
        *,
        names: Mapping[str, str] | None = None,
        give: str = "NONE",
    ) -> Image:
        held = {":holder": {"S": unit.holder}, ":counter": {"N": str(unit.counter)}}
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": _unit_key(unit),
            "UpdateExpression": update,
            "ConditionExpression": _HELD,
            "ExpressionAttributeValues": {**values, **held},
            "ReturnValues": give,
        }
        if names:
            request["ExpressionAttributeNames"] = names
        try:
            return await self._db.update_item(encode(request)) or {}
        except ConditionFailed as error:
            raise LeaseLost(f"{_name(unit)} is held by another one by now, or its pass was forgotten") from error

    async def _replace(self, row: Image, revision: int, *, ends: bool) -> bool:
        put = self._put(row, "#revision = :revision", {":revision": {"N": str(revision)}})
        try:
            await self._transact(put, *([{"Delete": {"TableName": self._table, "Key": _RUNNING_KEY}}] if ends else []))
        except TransactionCanceled as error:
            there = await self._db.get_item(self._table, {name: row[name] for name in ("pk", "sk")})
            if there is not None and bytes(there["nonce"]) == bytes(row["nonce"]):
                return True  # an attempt whose answer was lost had done it
            if not _is_refused(error):
                raise
            return False
        return True

    async def _transact(self, *actions: Mapping[str, object]) -> None:
        await self._db.transact(encode({"ClientRequestToken": secrets.token_hex(16), "TransactItems": actions}))

    def _put(self, row: Image, condition: str, values: Mapping[str, object] | None = None) -> dict[str, object]:
        put: dict[str, object] = {"TableName": self._table, "Item": row, "ConditionExpression": condition}
        if values:
            put["ExpressionAttributeValues"] = values
            put["ExpressionAttributeNames"] = {"#" + name.removeprefix(":"): name.removeprefix(":") for name in values}
        return {"Put": put}

    def _first(self, mine: UnitRecord, nonce: Raw) -> dict[str, object]:
        row = _unit_key(mine) | {
            BODY: wire.of_string(mine.to_text()),
            "holder": wire.of_string(mine.holder),
            "leased": wire.of_number(mine.counter),
            "beat": wire.of_number(mine.beat),
            "nonce": nonce,
        }
        return self._put(row, "attribute_not_exists(pk)")

    def _take(self, watched: UnitRecord, mine: UnitRecord, nonce: Raw) -> dict[str, object]:
        return {
            "Update": {
                "TableName": self._table,
                "Key": _unit_key(mine),
                "UpdateExpression": "SET holder = :holder, leased = :mine, beat = :next, nonce = :nonce",
                "ConditionExpression": "leased = :counter AND beat = :beat",
                "ExpressionAttributeValues": {
                    ":holder": {"S": mine.holder},
                    ":mine": {"N": str(mine.counter)},
                    ":next": {"N": str(mine.beat)},
                    ":nonce": nonce,
                    ":counter": {"N": str(watched.counter)},
                    ":beat": {"N": str(watched.beat)},
                },
            }
        }


def _row(record: PassRecord, written: Written | None) -> Image:
    return (
        key_of(PASSES_PK, record.id)
        | {
            BODY: wire.of_string(record.to_text()),
            "revision": wire.of_number(record.revision),
            "nonce": wire.of_string(secrets.token_hex(8)),
        }
        | (written.to_row() if written is not None else {})
    )


def _record_of(row: Mapping[str, Raw]) -> PassRecord:
    return PassRecord.of_text(wire.string(row[BODY]))


def _unit_key(unit: UnitRecord) -> Image:
    return key_of(units_pk(unit.pass_id), unit_sk(unit.kind, unit.number))


def _unit_of(row: Mapping[str, Raw]) -> UnitRecord:
    """Read a unit; its lease is in attributes of its own, which updates condition on."""
    return UnitRecord.of_text(wire.string(row[BODY])).replace(
        holder=wire.string(row["holder"]), counter=wire.number(row["leased"]), beat=wire.number(row["beat"])
    )


def _name(unit: UnitRecord) -> str:
    return f"{unit.kind} unit {unit.number} of pass {unit.pass_id}"


def _is_refused(error: TransactionCanceled) -> bool:
    return any(code == _REFUSED for code, _ in error.reasons)
