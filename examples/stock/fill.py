"""Make what was there before anybody knew of Crossfade: the table `warehouse` with some rows, a bucket, no flags.

python -m stock.fill
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path

import boto3

from crossfade.adapters.flagd import FlagFile
from crossfade.core.ownership.ramp import FlagDocument
from stock.shop import rows_of

SHOPS = ("north", "south")


def main() -> None:
    """Make it, and begin each shop's book with its rows."""
    told = {"endpoint_url": os.environ["CROSSFADE_AWS_ENDPOINT_URL"], "region_name": "us-east-1"}
    table = boto3.resource("dynamodb", **told).create_table(
        TableName="warehouse",
        KeySchema=[{"AttributeName": "sku", "KeyType": "HASH"}, {"AttributeName": "place", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("sku", "place")],
        BillingMode="PAY_PER_REQUEST",
    )
    table.meta.client.update_continuous_backups(
        TableName="warehouse", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    boto3.client("s3", **told).create_bucket(Bucket="stock-snapshots")
    for shop in SHOPS:
        lines = []
        for number, key in enumerate(rows_of(shop)[::2]):
            sku, place = (each["S"] for each in json.loads(key))
            table.put_item(Item={"sku": sku, "place": place, "on_hand": Decimal(number), "label": f"shelf {number}"})
            ask = {"id": f"{shop}-{number}", "verb": "receive", "key": key.decode(), "amount": str(number)}
            lines += [json.dumps(ask), json.dumps({"id": ask["id"], "ended": "applied"})]
        Path(f"{shop}.jsonl").write_text("\n".join(lines) + "\n")
    FlagFile(Path(os.environ["CROSSFADE_FLAG_FILE"])).write(FlagDocument(), dual_write=False)


if __name__ == "__main__":
    main()
