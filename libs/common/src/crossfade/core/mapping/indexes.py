"""Which global indexes the target table is created with: those of the source, under the target's names.

ImportTable takes global indexes and no local ones. An index whose key the target hasn't is left out and said, since it
would be empty there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.shape import Index, IndexKey, Side


class TargetIndexes(NamedTuple):
    """The target's global indexes.

    Attributes:
        made: those that it gets.
        left_out: why it doesn't get one of the source's, or not all that it projects; a sentence each.
    """

    made: tuple[Index, ...]
    left_out: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[IndexKey, ...]:
        """Attributes that are keys of them: a row that has one in another form would fail the import."""
        found: dict[str, IndexKey] = {}
        for key in (key for index in self.made for key in index.key):
            sorts = key.sorts or (key.name in found and found[key.name].sorts)
            found[key.name] = key._replace(sorts=sorts)
        return tuple(found[name] for name in sorted(found))


def target_indexes(mapping: Mapping, source: Sequence[Index]) -> TargetIndexes:
    """Return what the mapping says, or the source's indexes under the target's names.

    Args:
        mapping: of the migration.
        source: global indexes of the source table.
    """
    declared = mapping.shape(Side.TARGET).indexes
    if declared is not None:
        return TargetIndexes(declared)
    made, left_out = [], []
    for index in source:
        names = {key.name: _name_there(mapping, key.name) for key in index.key}
        missing = [name for name, there in names.items() if there is None]
        if missing:
            left_out.append(
                f"the index {index.name} is left out: the target has no {', '.join(missing)}, its key. Name the "
                "target's indexes in the mapping: Table(…, indexes=(Index(…),))"
            )
            continue
        projected = {name: _name_there(mapping, name) for name in index.projected}
        lost = [name for name, there in projected.items() if there is None]
        if lost:
            left_out.append(f"the index {index.name} doesn't project {', '.join(lost)}, which the target hasn't")
        made.append(
            index._replace(
                key=tuple(key._replace(name=names[key.name] or "") for key in index.key),
                projected=tuple(there for there in projected.values() if there is not None),
            )
        )
    return TargetIndexes(tuple(made), tuple(left_out))


def _name_there(mapping: Mapping, name: str) -> str | None:
    """Return how the target calls an attribute of the source that keeps its value; None where there is none."""
    declared, source = mapping.declared, mapping.declared.keys[Side.SOURCE]
    # Where keys change, the source's values are only in what the target keeps of them.
    there = declared.keys[Side.TARGET] if declared.source_key is None else mapping.shape(Side.TARGET).kept
    known = dict(zip(source, there, strict=False)) | dict(declared.moved)
    if name in known:
        return known[name]
    gone = {each for side, each, _ in declared.constants if side is Side.SOURCE} | set(source)
    gone |= {each for one in declared.computed for each in one.source}
    gone |= {declared.ttl} if declared.ttl else set()  # it travels under another name until COMPLETE
    return name if declared.is_open and name not in gone else None
