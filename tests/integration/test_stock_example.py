"""A second keyed domain, through ramp, kill, rollback and cutover, with its own book (ADR 0023)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.ownership.decisions import Done, Outcome
from crossfade.core.ownership.ramp import FlagDocument, aim, raised
from crossfade.core.protocol.keyed.item import Item, is_active
from crossfade.core.values import image as wire
from crossfade.core.values.image import encode_image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Side
from crossfade.runtime.ownership import Ownership
from engine_tables import create_table
from localaws import Endpoints

EXAMPLE = Path(__file__).parents[2] / "examples/stock"

pytestmark = pytest.mark.timeout(90)


class Street:
    """Both tables, the flag file, and shops that write until they are killed or told to close."""

    def __init__(self, local_aws: Endpoints, client: Wire, folder: Path) -> None:
        import stock
        from stock import shop

        self.shop, self.mapping = shop, stock.MAPPING
        self._aws, self._client = local_aws, client
        self.flags, self.book, self._log = folder / "flags.json", folder / "book.jsonl", folder / "shop.log"
        self.tables = {side: DynamoTable(DynamoDB(client), self.mapping, side) for side in Side}
        self.ownership = Ownership(self.tables[Side.LEGACY], self.tables[Side.NEW], self.mapping)
        self.document, self._counter = FlagDocument(), 0

    async def set_up(self) -> None:
        for side in Side:
            shape = self.mapping.shape(side)
            request = {
                "TableName": shape.table,
                "KeySchema": [
                    {"AttributeName": n, "KeyType": t} for n, t in zip(shape.key, ("HASH", "RANGE"), strict=True)
                ],
                "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in shape.key],
                "BillingMode": "PAY_PER_REQUEST",
            }
            await create_table(self._client, json.dumps(request).encode())
        names = self.mapping.shape(Side.LEGACY).key
        lines = []
        for number, key in enumerate(self.shop.ROWS[::2]):  # plain rows, as they were before anybody knew of Crossfade
            row = key_image(key, names) | {
                "on_hand": wire.of_number(number),
                "label": wire.of_string(f"shelf {number}"),
            }
            await DynamoDB(self._client).put_item(b'{"TableName":"warehouse","Item":%b}' % encode_image(row))
            ask = {"id": f"seed-{number}", "verb": "receive", "key": key.decode(), "amount": str(number)}
            lines += [json.dumps(ask), json.dumps({"id": ask["id"], "ended": "applied"})]
        self.book.write_text("\n".join(lines) + "\n")
        self.publish(0)

    def publish(self, share: int) -> None:
        self.document, self._counter = raised(self.document, share, self._counter)
        following = self.flags.with_suffix(".next")
        following.write_text(json.dumps(self.document._asdict()))
        following.replace(self.flags)

    @asynccontextmanager
    async def open_shop(self) -> AsyncIterator[asyncio.subprocess.Process]:
        env = os.environ | {
            "PYTHONPATH": str(EXAMPLE.parent),
            "AWS_ACCESS_KEY_ID": self._aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self._aws.secret_access_key,
            "AWS_DEFAULT_REGION": self._aws.region,
        }
        arguments = ("-m", "stock.shop", self._aws.aws_endpoint, str(self.flags), str(self.book))
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=env, stderr=log)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def answered(self, process: asyncio.subprocess.Process, more: int) -> None:
        """Wait until the shop has had so many answers more."""
        wanted = self._answers() + more
        while self._answers() < wanted:
            assert process.returncode is None, self._log.read_text()
            await asyncio.sleep(0.05)

    def _answers(self) -> int:
        return self.book.read_text().count('"ended"')

    async def sweep(self) -> None:
        """Hand over what nobody touched, as the controller's sweeper does."""
        for key in self.shop.ROWS:
            (done,) = await self.ownership.hand_over_many([key], aim(self.document, key))
            assert isinstance(done, Done), done
            assert done.outcome is Outcome.SETTLED, done

    async def items(self, side: Side) -> dict[Key, Item | None]:
        return {key: await self.tables[side].read(key) for key in self.shop.ROWS}

    async def owned_by(self, side: Side) -> None:
        """Assert that this table owns each row that is there, and has in it what the book says."""
        rows, _ = self.shop.stock_of(self.book)
        shape = self.mapping.shape(side)
        owners, others = await self.items(side), await self.items(side.other)
        for key, item in owners.items():
            assert is_active(item, side) or (item is None and key not in rows), (key, item)
            assert others[key] is None or not is_active(others[key], side.other), (key, others[key])
            row = rows.get(key)
            assert (item is None or item.deleted) == (row is None), (key, item, row)
            if row is None or item is None:
                continue
            found = {name: item.value(shape.own(name)) for name in ("on_hand", "reserved")}
            decimals = {name: Decimal(0) if raw is None else wire.decimal(raw) for name, raw in found.items()}
            assert decimals == {"on_hand": row["available"], "reserved": row["held"]}, key


@pytest.fixture
async def street(local_aws: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Street]:
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        made = Street(local_aws, client, tmp_path)
        await made.set_up()
        yield made


async def test_stock_is_ramped_killed_rolled_back_and_cut_over_and_each_row_is_what_the_book_says(
    street: Street,
) -> None:
    async with street.open_shop() as shop:
        await street.answered(shop, 40)
        street.publish(5_000)
        await street.answered(shop, 120)
        shop.send_signal(signal.SIGKILL)  # in the middle of four operations, some of them handovers
        await shop.wait()
    _, unanswered = street.shop.stock_of(street.book)
    assert unanswered, "nobody was killed in the middle of anything"
    moved = [item for item in (await street.items(Side.NEW)).values() if is_active(item, Side.NEW)]
    assert moved, "the ramp moved nothing"

    async with street.open_shop() as shop:  # asks again for what the other had no answer to
        await street.answered(shop, 60)
        street.publish(0)  # rollback, under traffic
        await street.answered(shop, 120)
        shop.send_signal(signal.SIGTERM)
        assert await shop.wait() == 0
    await street.sweep()
    await street.owned_by(Side.LEGACY)

    async with street.open_shop() as shop:
        street.publish(10_000)  # cutover, under traffic
        await street.answered(shop, 120)
        await street.sweep()
        await street.answered(shop, 40)
        shop.send_signal(signal.SIGTERM)
        assert await shop.wait() == 0
    await street.sweep()
    await street.owned_by(Side.NEW)

    asks = [json.loads(line) for line in street.book.read_text().splitlines() if "verb" in line]
    assert {each["verb"] for each in asks} == {"receive", "reserve", "ship", "discard"}
    ended = {json.loads(line).get("ended") for line in street.book.read_text().splitlines()}
    assert {"applied", "insufficient"} <= ended, "a bound was never met"
