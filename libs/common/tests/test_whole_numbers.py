"""Numbers that the domain answers as integers of 64 bits: `plan` and the snapshot name rows that have others."""

import gzip
import json

import pytest
from msgspec import Raw

from controller_world import Town, run
from crossfade.core.mapping.facts import why_inexact
from crossfade.core.mapping.rules import Keep, RuleMapping, Table, key_prefixes
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import encode_image
from crossfade.core.values.shape import Side
from crossfade_controller.plan_text import plan_text
from crossfade_controller.planning import check_plan
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of
from engagement_api.keys import wallet_key
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet

EXACT = ["0", "-3", "9223372036854775805", "9223372036854775807", "-9223372036854775808", "12.0", "1e18"]
INEXACT = {
    "12.5": "balance has a fraction",
    "1.25e1": "balance has a fraction",
    "99999999999999999999": "balance is beyond 64 bits",
    "9223372036854775808": "balance is beyond 64 bits",
    "-9223372036854775809": "balance is beyond 64 bits",
}


def number(text: str) -> Raw:
    return Raw(b'{"N":"%b"}' % text.encode())


def spoil(town: Town, *balances: str) -> None:
    """Give wallets the balances that another writer left."""
    for at, balance in enumerate(balances):
        town.tables[Side.SOURCE].put({**legacy_wallet(f"w{at}", "chan", 0), "balance": number(balance)})


@pytest.mark.parametrize("text", EXACT)
def test_a_whole_number_within_64_bits_is_not_named(text: str) -> None:
    assert not why_inexact(MAPPING.wholes, {"balance": number(text)})


@pytest.mark.parametrize(("text", "why"), INEXACT.items())
def test_a_fraction_and_a_number_beyond_64_bits_are_named(text: str, why: str) -> None:
    assert why_inexact(MAPPING.wholes, {"balance": number(text)}) == why


def test_a_row_without_the_number_is_not_named_and_one_with_another_type_is() -> None:
    assert not why_inexact(MAPPING.wholes, {})
    assert "balance is not a number: expected a value of type N" in why_inexact(
        MAPPING.wholes, {"balance": wire.of_string("12")}
    )


@pytest.mark.parametrize("text", [*EXACT, *INEXACT])
def test_a_line_is_mapped_unchanged_whatever_its_number_and_says_what_is_inexact(text: str) -> None:
    row = {**legacy_wallet("w", "chan", 0), "balance": number(text)}
    outcome = LineMapper(MAPPING).map_line(b'{"Item":%b}' % encode_image(row))
    assert outcome.fate is Fate.MAPPED
    assert outcome.inexact == INEXACT.get(text, "")
    assert b'"points":{"N":"%b"}' % text.encode() in outcome.line


def test_a_mapping_can_not_declare_a_number_that_it_has_no_rule_for() -> None:
    source, target = Table("a", key=("pk",)), Table("b", key=("pk",))
    with pytest.raises(ConfigError, match="no rule has the source attribute stokc, which is declared whole"):
        RuleMapping(
            "x", source=source, target=target, rules=(Keep("stock"),), wholes=("stokc",), belongs=key_prefixes("P#")
        )


async def test_a_plan_names_the_rows_with_the_cure_and_does_not_refuse_them() -> None:
    town = Town(wallets=0)
    town.tables[Side.SOURCE].images.clear()
    spoil(town, "7", "9223372036854775805", "12.5", "99999999999999999999")
    plan = await check_plan((await town.start())[0].world)
    (check,) = (each for each in plan.checks if each.name == "whole_numbers")
    assert not plan.blocking
    assert "2 of 4 sampled rows" in check.because
    for user, why in (("w2", INEXACT["12.5"]), ("w3", INEXACT["99999999999999999999"])):
        assert f"{wallet_key(user, 'chan').decode()}: {why}" in check.because
    assert wallet_key("w1", "chan").decode() not in check.because, "nearly full, and exact"
    assert "correct the rows in the source table before BOTH_WAYS" in check.because
    assert "WARNING" in plan_text(plan)
    assert plan.as_json()["sample"]["inexact_count"] == 2


async def test_a_plan_of_a_table_without_such_rows_warns_of_nothing() -> None:
    town = Town(wallets=0)
    town.tables[Side.SOURCE].images.clear()
    spoil(town, "7", "8")
    text = plan_text(await check_plan((await town.start())[0].world))
    assert "WARNING" not in text
    assert "whole, within 64 bits, in 2 sampled rows: balance" in text


async def test_the_snapshot_lists_all_such_rows_and_the_status_says_where() -> None:
    town = Town(wallets=0)
    spoil(town, "7", *["12.5"] * 30, "99999999999999999999")
    await town.ask("start", exclude=[])
    ctx, driver = await run(town, lambda: any(each.body["step"] == "map" for each in town.entries("step")))
    (mapped,) = (each.body for each in town.entries("step") if each.body["step"] == "map")
    sampled = 1  # of the samples, one is beyond 64 bits
    assert mapped["inexact"] == 31 + sampled
    assert mapped["mapped"] > mapped["inexact"]
    prefix, _, suffix = mapped["inexact_files"].removeprefix("s3://exports/").partition("*")
    files = [body for name, body in town.aws.objects.items() if name.startswith(prefix) and name.endswith(suffix)]
    rows = [json.loads(line) for body in files for line in gzip.decompress(body).splitlines()]
    wanted = {wallet_key(f"w{at}", "chan").decode() for at in range(1, 32)} | {wallet_key("8", "chan-41").decode()}
    assert sorted(each["key"] for each in rows) == sorted(wanted)
    assert {each["reason"] for each in rows} == {INEXACT["12.5"], INEXACT["99999999999999999999"]}
    text = status_text(status_of(ctx, driver.wait))
    assert f"WARNING: 32 rows have numbers that can't be answered exactly, listed in {mapped['inexact_files']}" in text
    assert "correct the rows in the source table" in text
