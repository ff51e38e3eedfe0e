"""The forms of owner writes and handover writes that a batch takes: PartiQL statements (section 3, rule 10).

PartiQL has no upsert and a missing operand is an error, so each statement asks for more than its write does: that the
item exists, has a version, and has what the statement reads. An item it refuses for that alone is left to the single
request of `crossfade.adapters.owner_requests`. Whoever sends the batch asks `core.protocol.keyed.perform` which it was.
"""

from __future__ import annotations

from typing import Final

import msgspec

from crossfade.core.protocol.keyed.item import (
    DELETED,
    EMV,
    EVENTS,
    FLOOR,
    GEN,
    MV,
    RECENT,
    ROLE,
    TTL,
    Role,
    build_image,
)
from crossfade.core.protocol.keyed.operation import Verb, magnitude_of, number_of
from crossfade.core.protocol.keyed.writes import Activate, Operate, Reseal, Seal, Write
from crossfade.core.values import image as wire
from crossfade.core.values.shape import TableShape, absent_is_active

LONGEST_STATEMENT: Final = 8192
"""Characters of one PartiQL statement."""

_encode = msgspec.json.encode
_PROTOCOL: Final = (RECENT, FLOOR, EVENTS, EMV, DELETED, TTL)


class BatchText:
    """Renders the statements of one table; their texts are kept."""

    def __init__(self, shape: TableShape) -> None:
        self._shape = shape
        self._heads: dict[object, bytes] = {}
        self._key = " AND ".join(f"{quoted(name)}=?" for name in shape.key)

    def render(self, write: Write) -> bytes | None:
        """Return the statement of a write; None when only a single request can do it."""
        match write:
            case Operate() if not write.op.verb.deletes:
                return self._operate(write)
            case Seal():
                return self._seal(write)
            case Activate() if self._shape.attributes is not None:
                return self._activate(write)
            case Reseal():
                return self._reseal(write)
        return None

    def _operate(self, write: Operate) -> bytes:
        op = write.op
        verb = op.verb
        form = (verb, tuple([amount < 0 for amount in op.amounts]))
        head = self._heads.get(form) or self._keep(form, self._operate_text(*form))
        transaction = bytes(wire.of_binary(op.transaction_id))
        parameters = [
            *map(magnitude_of, op.amounts),
            *op.values,
            b'{"L":[%b]}' % b",".join(op.events),
            b'{"BS":[%b]}' % transaction[5:-1],
            write.key[1:-1],
            transaction,
            transaction,
            b'{"N":"%d"}' % write.soft,
            *map(number_of, op.least),
            *map(number_of, op.most),
        ]
        return b"%b%b]}" % (head, b",".join(parameters))

    def _operate_text(self, verb: Verb, negative: tuple[bool, ...]) -> str:
        shape = self._shape
        adds, sets_to, at_least, at_most = (
            [quoted(shape.own(name)) for name in names] for names in (verb.adds, verb.sets, verb.at_least, verb.at_most)
        )
        starts = [quoted(name) for name, _ in shape.zero] if verb.creates else []
        present = dict.fromkeys([*starts, *adds])
        where = [
            f"{ROLE}='A'",
            f"{MV} IS NOT MISSING",
            f"{DELETED} IS MISSING",
            f"({FLOOR} IS MISSING OR {FLOOR}<?)",
            f"NOT contains({RECENT},?)",
            f"size({RECENT})<?",
            *(f"{name} IS NOT MISSING" for name in present if name not in at_least),
            *(f"{name}>=?" for name in at_least),
            *(f"{name}<=?" for name in at_most),
        ]
        # cf_emv comes first: so it can't matter whether an engine lets one SET see what another wrote.
        sets = [
            *(f"{name}={name}{'-' if less else '+'}?" for name, less in zip(adds, negative, strict=True)),
            *(f"{name}=?" for name in sets_to),
            f"{EMV}={MV}+1",
            f"{MV}={MV}+1",
            f"{EVENTS}=?",
            f"{RECENT}=set_add({RECENT},?)",
        ]
        return self._update(sets, [quoted(shape.own(name)) for name in verb.removes], where)

    def _seal(self, write: Seal) -> bytes:
        form = (Seal, write.stamped, write.expires, write.complete)
        head = self._heads.get(form) or self._keep(form, self._seal_text(write))
        generation = b'{"N":"%d"}' % write.generation
        parameters = [generation, write.key[1:-1], generation]
        if not write.stamped:
            parameters.insert(1, b'{"N":"%d"}' % (write.seed + 1))
        return b"%b%b]}" % (head, b",".join(parameters))

    def _seal_text(self, write: Seal) -> str:
        sets = [f"{ROLE}='S'", f"{GEN}=?", f"{MV}={MV}+1" if write.stamped else f"{MV}=?"]
        where = [
            self._role("A", absent_is_active(self._shape.side, complete=write.complete)),
            f"({GEN} IS MISSING OR {GEN}<?)",
            f"{MV} IS NOT MISSING" if write.stamped else f"{MV} IS MISSING",
        ]
        removes = []
        if self._shape.ttl is not None:
            ttl = quoted(self._shape.ttl)
            where.append(f"{ttl} IS NOT MISSING" if write.expires else f"{ttl} IS MISSING")
            if write.expires:
                sets.append(f"{TTL}={ttl}")
                removes.append(ttl)
        return self._update(sets, removes, where)

    def _activate(self, write: Activate) -> bytes | None:
        sealed = write.sealed
        version = sealed.version or 0
        image = build_image(sealed._replace(role=Role.ACTIVE, version=version + 1), self._shape, {})
        form = (Activate, tuple(image), write.complete)
        head = self._heads.get(form) or self._keep(form, self._activate_text(tuple(image), write.complete))
        if len(head) > LONGEST_STATEMENT:  # with its frame: what is near the limit goes alone, too
            return None
        fence = (b'{"N":"%d"}' % sealed.generation, b'{"N":"%d"}' % version)
        return b"%b%b]}" % (head, b",".join((*map(bytes, image.values()), write.key[1:-1], *fence)))

    def _activate_text(self, names: tuple[str, ...], complete: bool) -> str:
        own = (self._shape.ttl,) if self._shape.ttl else ()
        possible = (*(self._shape.attributes or ()), *own, *_PROTOCOL)
        removes = [quoted(name) for name in possible if name not in names]
        where = [
            self._role("S", not absent_is_active(self._shape.side, complete=complete)),
            f"({GEN} IS MISSING OR {GEN}<?)",
            f"({MV} IS MISSING OR {MV}<=?)",
        ]
        return self._update([f"{quoted(name)}=?" for name in names], removes, where)

    def _reseal(self, write: Reseal) -> bytes:
        where = [f"{ROLE}='S'", f"{GEN}=?", f"{MV}=?"]
        head = self._heads.get(Reseal) or self._keep(Reseal, self._update([f"{MV}=?"], [], where))
        lifted, generation, seen = (
            b'{"N":"%d"}' % each for each in (write.version, write.generation, write.sealed_version)
        )
        return b"%b%b]}" % (head, b",".join((lifted, write.key[1:-1], generation, seen)))

    def _update(self, sets: list[str], removes: list[str], where: list[str]) -> str:
        words = ["UPDATE", quoted(self._shape.table)]
        words += [f"SET {each}" for each in sets]
        words += [f"REMOVE {each}" for each in removes]
        words += ["WHERE", " AND ".join((self._key, *where)), "RETURNING ALL NEW *"]
        return " ".join(words)

    def _role(self, role: str, missing: bool) -> str:
        return f"({ROLE} IS MISSING OR {ROLE}='{role}')" if missing else f"{ROLE}='{role}'"

    def _keep(self, form: object, text: str) -> bytes:
        head = b'{"Statement":%b,"ReturnValuesOnConditionCheckFailure":"ALL_OLD","Parameters":[' % _encode(text)
        self._heads[form] = head
        return head


def quoted(name: str) -> str:
    """Return a name as PartiQL spells it, whatever words it reserves."""
    return '"' + name.replace('"', '""') + '"'
