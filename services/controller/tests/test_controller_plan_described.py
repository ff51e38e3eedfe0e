"""What `plan` makes of a described source: what wasn't asked is looked up, what IAM hides shuts its own check alone."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from controller_world import Town
from crossfade.core.plan.described import QUESTIONS, Answers, Unknown, nothing_known
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade_controller.planning import BEFORE_A_START, Plan, check_plan
from described_tables import bare, rich
from engagement_migration import MAPPING

WALLET: dict[str, Any] = {
    "TableName": "wallet",
    "TableArn": "arn:aws:dynamodb:us-east-1:111122223333:table/wallet",
    "TableStatus": "ACTIVE",
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
    "ItemCount": 13,
}
ON = {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}}


async def planned(answers: dict[str, Any], *, only: Collection[str] = ()) -> Plan:
    """Plan the source of a town, as AWS describes it; what isn't asked is unknown."""
    asked: list[Collection[str]] = []

    async def describe(_side: Side, questions: Collection[str]) -> Answers:
        asked.append(questions)
        return nothing_known("not asked") | {
            name: each for name, each in answers.items() if name in (questions or answers)
        }

    world = (await Town().start())[0].world
    plan = await check_plan(replace(world, describe=describe), questions=only)
    assert asked == [only]
    return plan


def wallet(**more: Any) -> dict[str, Any]:
    return {**bare(), "table": WALLET, "recovery": ON, **more}


def shut(plan: Plan) -> dict[str, str]:
    return {each.name: each.because for each in plan.blocking}


async def test_a_start_asks_three_questions_and_is_refused_for_nothing_that_it_did_not_ask() -> None:
    assert shut(await planned(wallet(), only=BEFORE_A_START)) == {}


@pytest.mark.parametrize("asked", [("table",), ("table", "ttl"), ("table", "recovery")])
async def test_what_was_not_asked_is_looked_up_and_never_taken_for_off(asked: tuple[str, ...]) -> None:
    assert shut(await planned(wallet(), only=asked)) == {}


async def test_a_start_of_a_global_table_is_refused() -> None:
    global_table = WALLET | {"Replicas": [{"RegionName": "eu-west-1"}]}
    plan = await planned(wallet(table=global_table), only=BEFORE_A_START)
    assert "eu-west-1" in shut(plan)["one_region"]
    assert plan.blocking[0].cure


@pytest.mark.parametrize(
    ("question", "check"), [("recovery", "point_in_time_recovery"), ("ttl", "ttl"), ("tags", ""), ("triggers", "")]
)
async def test_what_iam_hides_shuts_its_own_check_alone_and_is_named(question: str, check: str) -> None:
    action = next(each.action for each in QUESTIONS if each.name == question)
    plan = await planned(wallet(**{question: Unknown(action)}))
    assert shut(plan) == ({check: f"unknown: needs {action}"} if check else {})
    assert plan.unknown == {question: Unknown(action)}
    assert plan.sample.ours == 10, "the rest is looked at"


async def test_recovery_that_is_off_is_off() -> None:
    assert "off" in shut(await planned(wallet(recovery=bare()["recovery"])))["point_in_time_recovery"]


async def test_who_is_attached_and_what_is_not_carried_never_refuses_a_start() -> None:
    plan = await planned({**rich(), "table": WALLET, "ttl": bare()["ttl"]})
    assert shut(plan) == {}
    assert any(each.who == ("mailer",) for each in plan.attached)
    assert any(each.name == "tags" and each.do for each in plan.carry_over)


class Meeting:
    """The engagement mapping, but every row goes to one key."""

    def __getattr__(self, name: str) -> Any:
        return getattr(MAPPING, name)

    def other_key(self, *_: Any) -> Key:
        return key_of_strings("USER#one", "POINTS#one")


async def test_sampled_rows_that_would_meet_in_one_key_of_the_target_shut_the_plan() -> None:
    plan = await planned(wallet())
    assert next(each for each in plan.checks if each.name == "one_to_one").open
    world = (await Town().start())[0].world
    found = shut(await check_plan(replace(world, mapping=Meeting())))
    assert "9 of 10 sampled rows can't be told apart" in found["one_to_one"]


@pytest.mark.parametrize(("writes_per_s", "opens"), [(40_000.0, True), (40_001.0, False), (None, True)])
async def test_a_peak_above_the_quota_of_one_table_shuts_the_plan(writes_per_s: float | None, opens: bool) -> None:
    async def describe(_side: Side, _questions: Collection[str]) -> Answers:
        return wallet()

    world = (await Town().start())[0].world
    plan = await check_plan(replace(world, describe=describe), writes_per_s=writes_per_s)
    assert next(each for each in plan.checks if each.name == "write_quota").open is opens
