"""The snapshot: what is mapped, what stays, and what a damaged export does."""

import base64
import gzip
import hashlib
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.s3_export import ExportFile, FileCounts, FilePlaces, map_file, read_manifest
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.protocol.keyed.item import FIRST_STAMPED
from crossfade.core.values import image as wire
from crossfade.core.values.errors import SnapshotBroken
from crossfade.core.values.image import Image, decode_image, encode_image
from crossfade.core.values.keys import encode_key
from crossfade.core.values.shape import IndexKey, Side, TableShape
from crossfade.ports.admin import Objects
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, WALLETS

MAPPER = LineMapper(MAPPING)


def line_of(row: Image) -> bytes:
    return b'{"Item":%b}' % encode_image(row)


def mapped(row: Image) -> Image:
    outcome = MAPPER.map_line(line_of(row))
    assert outcome.fate is Fate.MAPPED, outcome.reason
    return decode_image(msgspec.json.decode(outcome.line, type=dict[str, msgspec.Raw])["Item"])


def test_rule_6_an_unstamped_row_is_imported_with_version_0_standby_of_generation_0() -> None:
    item = mapped(WALLETS[0])
    assert bytes(item["cf_mv"]) == b'{"N":"0"}'
    assert bytes(item["cf_role"]) == b'{"S":"S"}'
    assert bytes(item["cf_gen"]) == b'{"N":"0"}'
    assert bytes(item["points"]) == b'{"N":"1250"}'
    assert "wallet_type" not in item


def test_a_stamped_row_keeps_its_version_and_what_exactly_once_rests_on_but_not_role_and_generation() -> None:
    version = FIRST_STAMPED + 7
    carried = {
        "cf_recent": wire.of_binary_set([b"0" * 16]),
        "cf_floor": wire.of_binary(b"1" * 16),
        "cf_emv": wire.of_number(version),
        "cf_events": wire.of_list([]),
    }
    row = {
        **WALLETS[0],
        **carried,
        "cf_mv": wire.of_number(version),
        "cf_role": wire.of_string("A"),
        "cf_gen": wire.of_number(9),
    }
    item = mapped(row)
    assert wire.number(item["cf_mv"]) == version
    assert {name: item[name] for name in carried} == carried
    assert wire.string(item["cf_role"]) == "S"
    assert wire.number(item["cf_gen"]) == 0
    assert MAPPER.map_line(line_of(row)).standing == 9


def test_the_ttl_value_travels_as_cf_ttl_so_that_nothing_expires() -> None:
    item = mapped(WALLETS[2])
    assert wire.number(item["cf_ttl"]) == 4_102_444_800
    assert "expires_at" not in item


@pytest.mark.parametrize("row", NOT_OURS, ids=lambda row: bytes(row["sk"]).decode())
def test_rows_that_do_not_belong_never_leave(row: Image) -> None:
    outcome = MAPPER.map_line(line_of(row))
    assert outcome.fate is Fate.NOT_OURS
    assert outcome.line == b""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not an export line"),
        (b'{"Keys":{}}', "not an export line"),
        (b'{"Item":{"pk":{"S":"USER#1"}}}', "no key attribute"),
        (line_of({**WALLETS[0], "surprise": wire.of_string("x")}), "surprise"),
        (line_of({**WALLETS[0], "cf_role": wire.of_string("S")}), "standby in the source table"),
    ],
)
def test_a_row_that_cannot_be_mapped_is_reported_never_dropped(line: bytes, reason: str) -> None:
    outcome = MAPPER.map_line(line)
    assert outcome.fate is Fate.UNMAPPABLE
    assert reason in outcome.reason


@pytest.mark.parametrize(
    ("tier", "reason"), [("", "'tier', a key of an index of 'engagement', is empty"), ("x" * 409_600, "409600")]
)
def test_a_row_that_the_target_table_would_not_take_is_reported_since_it_would_fail_the_whole_import(
    tier: str, reason: str
) -> None:
    shape = MAPPING.shape(Side.TARGET)
    mapper = LineMapper(_Indexed(index_keys=(IndexKey("tier", "S"),) if not tier else ()))
    outcome = mapper.map_line(line_of(WALLETS[0] | {"tier": wire.of_string(tier)}))
    assert outcome.fate is Fate.UNMAPPABLE
    assert reason.replace("engagement", shape.table) in outcome.reason
    assert outcome.key == encode_key(WALLETS[0], MAPPING.shape(Side.SOURCE).key)


class _Indexed:
    """The mapping, with keys of indexes in the target table."""

    def __init__(self, index_keys: tuple[IndexKey, ...]) -> None:
        self._index_keys = index_keys

    def __getattr__(self, name: str) -> Any:
        return getattr(MAPPING, name)

    def shape(self, side: Side) -> TableShape:
        shape = MAPPING.shape(side)
        return shape._replace(index_keys=self._index_keys) if side is Side.TARGET else shape


def test_an_excluded_row_stays_even_if_it_could_not_be_mapped() -> None:
    row = {**WALLETS[0], "surprise": wire.of_string("x")}
    key = encode_key(row, ("pk", "sk"))
    assert LineMapper(MAPPING, frozenset({key})).map_line(line_of(row)).fate is Fate.EXCLUDED


rows = st.lists(
    st.one_of(
        st.sampled_from(NOT_OURS),
        st.builds(
            lambda user, points: {
                **WALLETS[1],
                "pk": wire.of_string(f"USER#{user}"),
                "balance": wire.of_number(points),
            },
            st.text(max_size=8),
            st.integers(0, 10**30),
        ),
    ),
    max_size=20,
)


PLACES = FilePlaces("import", "unmappable", "inexact")


def bucket() -> MemoryAws:
    return MemoryAws({}, set())


async def map_body(aws: MemoryAws, body: bytes, items: int) -> FileCounts:
    """Map a file that its manifest knows."""
    aws.objects["f"] = body
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return await map_file(aws, ExportFile("f", items, md5), MAPPER, PLACES)


@given(rows)
async def test_every_line_has_exactly_one_fate_and_balances_survive_gzip_to_gzip(found: list[Image]) -> None:
    lines = b"".join(line_of(row) + b"\n" for row in found)
    aws = bucket()
    counts = await map_body(aws, gzip.compress(lines), len(found))
    body = aws.objects.get("import", gzip.compress(b""))
    assert counts.read == len(found) == counts.mapped + counts.not_ours + counts.unmappable + counts.excluded
    imported = [msgspec.json.decode(line)["Item"] for line in gzip.decompress(body).splitlines()]
    ours = [row for row in found if MAPPING.belongs(encode_key(row, ("pk", "sk")))]
    assert [item["points"]["N"] for item in imported] == [wire._text(row["balance"], "N") for row in ours]
    assert FileCounts.of_json(counts.as_json()) == counts


def test_counts_that_an_older_or_a_newer_build_noted_are_read() -> None:
    """A controller that takes over in the middle of a snapshot may be of another build."""
    counts = FileCounts(read=3, mapped=2, unmappable=1, samples=("a: why",))
    noted = counts.as_json()
    older = {name: value for name, value in noted.items() if not name.startswith("inexact")}
    assert FileCounts.of_json(older) == FileCounts.of_json({**noted, "of a newer build": 1}) == counts


AT_S = 1_700_000_000
"""The export's moment: a time that a commit time can be."""


async def exported() -> tuple[MemoryAws, str]:
    table = MemoryTable(MAPPING.shape(Side.SOURCE), now_us=lambda: AT_S * 1_000_000)
    for row in (*WALLETS, *NOT_OURS):
        table.put(row)
    aws = MemoryAws({"wallet": table}, {"wallet"}, now_us=lambda: AT_S * 1_000_000 + 500_000)
    arn = await aws.export("arn:wallet", at_s=AT_S, bucket="b", prefix="p", token="t")
    await aws.export_facts(arn)
    return aws, (await aws.export_facts(arn)).manifest


async def test_a_whole_export_is_read_and_checked() -> None:
    aws, manifest = await exported()
    files = await read_manifest(aws, manifest)
    total = FileCounts()
    for file in files:
        total = total.plus(await map_file(aws, file, MAPPER, PLACES))
    assert (total.read, total.mapped, total.not_ours) == (7, 4, 3)


def _rewrite(aws: MemoryAws, key: str, **fields: Any) -> None:
    aws.objects[key] = msgspec.json.encode({**msgspec.json.decode(aws.objects[key]), **fields})


async def test_a_summary_that_counts_otherwise_than_its_files_is_refused() -> None:
    aws, manifest = await exported()
    _rewrite(aws, manifest, itemCount=8)
    with pytest.raises(SnapshotBroken, match="counts 8 items, its files 7"):
        await read_manifest(aws, manifest)


async def test_a_missing_manifest_or_another_format_is_refused() -> None:
    aws, manifest = await exported()
    with pytest.raises(SnapshotBroken, match="missing"):
        await read_manifest(aws, "elsewhere")
    _rewrite(aws, manifest, outputFormat="ION")
    with pytest.raises(SnapshotBroken, match="ION"):
        await read_manifest(aws, manifest)


async def test_a_damaged_or_swapped_file_is_refused_by_its_md5() -> None:
    aws, manifest = await exported()
    first, second, *_ = await read_manifest(aws, manifest)
    aws.objects[first.key] = aws.objects[second.key]
    with pytest.raises(SnapshotBroken, match="MD5"):
        await map_file(aws, first, MAPPER, PLACES)
    assert "import" not in aws.objects, "nothing of a file that is not the export's is left to be imported"
    del aws.objects[second.key]
    with pytest.raises(SnapshotBroken, match="missing"):
        await map_file(aws, second, MAPPER, PLACES)


async def test_a_file_with_fewer_lines_than_promised_or_no_gzip_is_refused() -> None:
    aws, body = bucket(), gzip.compress(line_of(WALLETS[0]) + b"\n")
    with pytest.raises(SnapshotBroken, match="holds 1 items, the manifest says 2"):
        await map_body(aws, body, 2)
    with pytest.raises(SnapshotBroken, match="can't be unpacked"):
        await map_body(aws, b"not gzip", 1)
    with pytest.raises(SnapshotBroken, match="can't be unpacked"):
        await map_body(aws, body[:-9], 1)
    assert "import" not in aws.objects


async def test_a_file_of_several_members_and_without_a_last_line_end_is_read_whole() -> None:
    lines = [line_of({**WALLETS[0], "pk": wire.of_string(f"USER#{n}")}) for n in range(500)]
    body = gzip.compress(b"\n".join(lines[:200]) + b"\n") + gzip.compress(b"\n".join(lines[200:]))
    aws = bucket()
    counts = await map_body(aws, body, 500)
    assert (counts.read, counts.mapped) == (500, 500)
    assert len(gzip.decompress(aws.objects["import"]).splitlines()) == 500


class Stream:
    """A bucket whose one file is made as it is read, and of which what is written is only counted."""

    def __init__(self, rows: int) -> None:
        self.rows, self.written = rows, 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        for piece in self._pieces():
            self.md5.update(piece)

    def _pieces(self) -> Iterator[bytes]:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        for first in range(0, self.rows, 500):
            ids = range(first, min(first + 500, self.rows))
            rows = ({**WALLETS[0], "pk": wire.of_string(f"USER#{n}")} for n in ids)
            yield packer.compress(b"".join(line_of(row) + b"\n" for row in rows))
        yield packer.flush()

    async def read(self, _key: str) -> AsyncIterator[bytes]:
        for piece in self._pieces():
            yield piece

    async def write(self, _key: str, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            self.written += len(piece)


async def peak_bytes(rows: int) -> int:
    bucket = Stream(rows)
    md5 = base64.b64encode(bucket.md5.digest()).decode()
    tracemalloc.start()
    try:
        counts = await map_file(cast("Objects", bucket), ExportFile("f", rows, md5), MAPPER, PLACES)
        assert counts.mapped == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_memory_is_flat_in_the_file_s_size() -> None:
    """Before ADR 0047 it took 3.2 bytes a byte, and more unpacked: 10,000 rows of 300 bytes were 7 MB and more."""
    await peak_bytes(500)  # what is made once, at first use
    small, large = await peak_bytes(2_500), await peak_bytes(10_000)
    assert large < small + 512 * 1024, (small, large)
