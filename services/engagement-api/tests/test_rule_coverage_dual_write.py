"""Rule 2 for the dual write: what it carries, and what a row has that it creates."""

from __future__ import annotations

import pytest

from crossfade.core.mapping.copies import transfer_of
from crossfade.core.protocol.keyed.fence import judge
from crossfade.core.protocol.keyed.item import CARRIED, GEN, MV, ROLE, Role
from crossfade.core.values import image as wire
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, stamped, tombstone, ulid

TTL = b'{"N":"4102444800"}'


@pytest.mark.parametrize(("owner", "first"), [(Side.SOURCE, 0), (Side.TARGET, 4)])
def test_rule_2_a_copy_creates_new_rows_of_generation_0_and_source_rows_of_the_images(owner: Side, first: int) -> None:
    """Also where the owner's generation is not 0: after a rollback, the source rows have one."""
    transfer = transfer_of(MAPPING, owner, KEY, stamped(owner, Role.ACTIVE, 4))
    created = judge(transfer, None, MAPPING.shape(owner.other)).item
    assert created is not None
    assert (created.role, created.generation, created.version) == (Role.STANDBY, first, SEED)


@pytest.mark.parametrize("owner", list(Side))
def test_rule_2_a_copy_names_neither_version_role_nor_generation_and_carries_the_rest(owner: Side) -> None:
    item = stamped(owner, Role.ACTIVE, 4, floor=ulid(1), ttl=TTL)
    image = transfer_of(MAPPING, owner, KEY, item).image
    assert not {MV, ROLE, GEN, *MAPPING.shape(owner.other).key} & image.keys()
    assert set(CARRIED) - {"cf_deleted"} <= image.keys()
    assert bytes(image["cf_ttl"]) == TTL, "the TTL sleeps on a standby"
    assert "expires_at" not in image


@pytest.mark.parametrize("owner", list(Side))
def test_rule_3_the_copy_of_a_delete_is_a_tombstone_that_remembers_who_asked(owner: Side) -> None:
    item = tombstone(Role.ACTIVE, 4, floor=ulid(1))
    image = transfer_of(MAPPING, owner, KEY, item).image
    assert wire.boolean(image["cf_deleted"])
    assert wire.binary_set(image["cf_recent"]) == item.recent
    assert not set(MAPPING.shape(owner.other).attributes or ()) & image.keys()
