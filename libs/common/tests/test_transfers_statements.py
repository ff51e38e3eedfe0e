"""State transfers as statements: their text, and what each error of a statement leads to (rules 2, 9, 10, 11)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

import pytest
from msgspec import Raw

from apply_cases import V
from crossfade.adapters.dynamodb import StatementResult
from crossfade.adapters.transfer_text import TransferText
from crossfade.adapters.transfers import ROUNDS, DynamoTransfers
from crossfade.core.protocol.keyed.fence import Judgement
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError, StoreRefused, StoreUnavailable, Throttled
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.ports.sending import WRITTEN, NotSent, Sent, sent_name
from engagement_migration import MAPPING
from plain_protocol import Plain

SHAPE = MAPPING.shape(Side.TARGET)
DONE = StatementResult(None, None)
REFUSED = StatementResult("ConditionalCheckFailed", None)


def key(number: int) -> Key:
    return key_of_strings(f"USER#{number}", "POINTS#1")


def transfer(number: int = 1, version: int = V, **more: Any) -> Transfer:
    return Transfer(key(number), version, {"points": wire.of_number(7)}, **more)


class Script:
    """Answers requests by a script, and keeps them."""

    def __init__(self, *answers: Sequence[StatementResult] | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[list[dict[str, Any]]] = []

    async def execute(self, statements: Sequence[bytes], **_: Any) -> list[StatementResult]:
        self.requests.append([json.loads(each) for each in statements])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert len(answer) == len(statements)
        return list(answer)

    def verbs(self) -> list[list[str]]:
        return [[each["Statement"].split()[0] for each in request] for request in self.requests]


async def send(script: Script, *transfers: Transfer) -> list[Sent]:
    return await DynamoTransfers(script, SHAPE, KEYED).transfer(transfers)  # type: ignore[arg-type]  # the script is all it asks


# ---- the text ----------------------------------------------------------------------------------


def test_rule_10_an_update_sets_what_is_present_and_removes_what_is_not() -> None:
    request = json.loads(TransferText(SHAPE, KEYED.spelling).update(transfer()))
    text = request["Statement"]
    assert text.startswith('UPDATE "engagement" SET "points"=? SET "cf_mv"=? REMOVE "tier"')
    for name in ("badges", "cf_recent", "cf_floor", "cf_events", "cf_emv", "cf_deleted", "cf_ttl"):
        assert f' REMOVE "{name}"' in text
    assert text.endswith("""WHERE "pk"=? AND "sk"=? AND cf_mv<? AND cf_role='S'""")
    version = {"N": str(V)}
    assert request["Parameters"] == [{"N": "7"}, version, {"S": "USER#1"}, {"S": "POINTS#1"}, version]
    assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_rule_2_no_update_names_role_or_generation_but_in_its_condition() -> None:
    text = json.loads(TransferText(SHAPE, KEYED.spelling).update(transfer()))["Statement"]
    assert "cf_gen" not in text
    assert text.count("cf_role") == text.count("AND cf_role='S'") == 1


def test_a_repair_also_rewrites_the_same_version() -> None:
    text = json.loads(TransferText(SHAPE, KEYED.spelling).update(transfer(repair=True)))["Statement"]
    assert "cf_mv<=?" in text


def test_rule_2_an_insert_makes_a_standby_of_the_given_generation() -> None:
    request = json.loads(TransferText(SHAPE, KEYED.spelling).insert(transfer(first_standing=4)))
    assert request["Statement"] == (
        "INSERT INTO \"engagement\" VALUE {'pk':?,'sk':?,'points':?,'cf_mv':?,'cf_role':?,'cf_gen':?}"
    )
    assert request["Parameters"] == [
        {"S": "USER#1"}, {"S": "POINTS#1"}, {"N": "7"}, {"N": str(V)}, {"S": "S"}, {"N": "4"},
    ]  # fmt: skip


def test_rule_9_values_are_spliced_in_as_they_came() -> None:
    spaced = Raw(b'{"M": {"theme": {"S": "d\\u00e4rk"}}}')
    image: Image = {"preferences": spaced}
    for request in (TransferText(SHAPE, KEYED.spelling).update, TransferText(SHAPE, KEYED.spelling).insert):
        assert bytes(spaced) in request(Transfer(key(1), V, image))


def test_names_are_quoted_whatever_they_hold() -> None:
    shape = SHAPE._replace(attributes=("role", 'a"b', "it's"), table='t"x')
    image = {name: wire.of_number(1) for name in shape.attributes or ()}
    update = json.loads(TransferText(shape, KEYED.spelling).update(Transfer(key(1), V, image)))["Statement"]
    assert update.startswith('UPDATE "t""x" SET "role"=? SET "a""b"=? SET "it\'s"=?')
    assert (
        "'it''s':?" in json.loads(TransferText(shape, KEYED.spelling).insert(Transfer(key(1), V, image)))["Statement"]
    )


@pytest.mark.parametrize("name", ["cf_mv", "cf_role", "cf_gen", "pk"])
def test_rule_2_an_image_that_holds_what_belongs_to_the_table_is_refused(name: str) -> None:
    image = {name: wire.of_number(1)}
    with pytest.raises(ValueError, match=name):
        TransferText(SHAPE, KEYED.spelling).update(Transfer(key(1), V, image))
    with pytest.raises(ValueError, match=name):
        TransferText(SHAPE, KEYED.spelling).insert(Transfer(key(1), V, image))


def test_a_mapping_that_makes_too_long_a_statement_is_refused_at_once() -> None:
    TransferText(SHAPE._replace(attributes=tuple(f"attribute_{number:03}" for number in range(300))), KEYED.spelling)
    with pytest.raises(ConfigError, match="8192"):
        TransferText(
            SHAPE._replace(attributes=tuple(f"attribute_{number:03}" for number in range(400))), KEYED.spelling
        )


def test_what_a_row_must_say_to_take_a_copy_is_the_protocols_to_spell() -> None:
    text = TransferText(SHAPE, Plain(Side.SOURCE).spelling)
    update, insert = (json.loads(each(transfer(first_standing=4))) for each in (text.update, text.insert))
    assert update["Statement"].endswith('WHERE "pk"=? AND "sk"=? AND cf_mv<?')
    assert "cf_recent" not in update["Statement"]
    assert insert["Statement"] == "INSERT INTO \"engagement\" VALUE {'pk':?,'sk':?,'points':?,'cf_mv':?}"
    assert insert["Parameters"] == [{"S": "USER#1"}, {"S": "POINTS#1"}, {"N": "7"}, {"N": str(V)}]


# ---- the errors --------------------------------------------------------------------------------


async def test_rule_10_what_is_absent_is_inserted() -> None:
    script = Script([DONE, REFUSED, DONE], [DONE])
    assert await send(script, transfer(1), transfer(2), transfer(3)) == [Verdict.APPLIED] * 3
    assert script.verbs() == [["UPDATE"] * 3, ["INSERT"]]
    assert script.requests[1][0]["Parameters"][0] == {"S": "USER#2"}


async def test_rule_10_a_duplicate_item_goes_back_to_update() -> None:
    stale = StatementResult("ConditionalCheckFailed", {"cf_mv": wire.of_number(V + 1), "cf_role": wire.of_string("S")})
    script = Script([REFUSED], [StatementResult("DuplicateItem", None)], [stale])
    assert await send(script, transfer()) == [Verdict.STALE]
    assert script.verbs() == [["UPDATE"], ["INSERT"], ["UPDATE"]]


async def test_a_row_that_keeps_appearing_and_vanishing_is_given_back_as_not_written() -> None:
    rounds = [[REFUSED] if number % 2 == 0 else [StatementResult("DuplicateItem", None)] for number in range(ROUNDS)]
    assert await send(Script(*rounds), transfer()) == [NotSent.THROTTLED]


async def test_an_item_that_became_older_in_between_is_written_once_more() -> None:
    """The condition failed, but by the item that came back it would hold: the row was restored in between."""
    older = StatementResult("ConditionalCheckFailed", {"cf_mv": wire.of_number(V - 1), "cf_role": wire.of_string("S")})
    script = Script([older], [DONE])
    assert await send(script, transfer()) == [Verdict.APPLIED]
    assert script.verbs() == [["UPDATE"], ["UPDATE"]]


async def test_an_item_that_can_not_be_read_is_left_to_a_person() -> None:
    broken = StatementResult("ConditionalCheckFailed", {"cf_mv": wire.of_string("x"), "cf_role": wire.of_string("S")})
    assert await send(Script([broken]), transfer()) == [Verdict.UNVERSIONED]


@pytest.mark.parametrize(
    "code",
    [
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "TransactionConflict",
        "InternalServerError",
    ],
)
async def test_rule_11_a_throttled_statement_is_not_written_and_the_others_are(code: str) -> None:
    script = Script([DONE, StatementResult(code, None), DONE])
    verdicts = await send(script, transfer(1), transfer(2), transfer(3))
    assert verdicts == [Verdict.APPLIED, NotSent.THROTTLED, Verdict.APPLIED]


async def test_rule_11_a_throttled_request_is_not_written() -> None:
    assert await send(Script(Throttled("slow down")), transfer(1), transfer(2)) == [NotSent.THROTTLED] * 2


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
async def test_an_item_that_will_never_be_taken_is_refused_and_the_others_are_written(code: str) -> None:
    script = Script([DONE, StatementResult(code, None, "Item size to update has exceeded the maximum allowed size")])
    said = Unfit("Item size to update has exceeded the maximum allowed size")
    assert await send(script, transfer(1), transfer(2)) == [Verdict.APPLIED, said]
    assert sent_name(said) == "refused"


async def test_one_statement_that_spoils_its_request_is_found_and_refused_alone() -> None:
    wrong = StoreRefused("bad", reason="ValidationException")
    script = Script(wrong, [DONE], wrong, [DONE])
    verdicts = await send(script, transfer(1), transfer(2), transfer(3))
    assert verdicts == [Verdict.APPLIED, Unfit("bad"), Verdict.APPLIED]


@pytest.mark.parametrize("code", ["AccessDenied", "ResourceNotFound"])
async def test_a_table_that_refuses_us_is_an_error_and_nothing_is_parked_for_it(code: str) -> None:
    with pytest.raises(StoreRefused, match=code):
        await send(Script([DONE, StatementResult(code, None)]), transfer(1), transfer(2))
    with pytest.raises(StoreRefused):
        await send(Script(StoreRefused("no", reason="AccessDeniedException")), transfer(1))


async def test_an_unknown_outcome_is_an_error_for_all_of_them() -> None:
    script = Script([DONE] * 25, StoreUnavailable("silence"))
    with pytest.raises(StoreUnavailable):
        await send(script, *(transfer(number) for number in range(30)))


async def test_rule_10_a_request_takes_25_statements() -> None:
    script = Script([DONE] * 25, [DONE] * 25, [DONE] * 10)
    assert await send(script, *(transfer(number) for number in range(60))) == [Verdict.APPLIED] * 60


async def test_rule_10_two_statements_on_one_key_never_share_a_request() -> None:
    script = Script([DONE, DONE], [DONE])
    assert await send(script, transfer(1), transfer(1, V + 1), transfer(2)) == [Verdict.APPLIED] * 3
    keys = [[each["Parameters"][2]["S"] for each in request] for request in script.requests]
    assert keys == [["USER#1", "USER#2"], ["USER#1"]]


def test_a5_what_the_core_judges_and_what_sending_returned_are_two_types() -> None:
    """A verdict was also "throttled", which no judgement can be."""
    assert {each.value for each in Verdict} == {"applied", "stale", "duplicate", "conflict", "owned", "unversioned"}
    assert get_type_hints(Judgement)["verdict"] is Verdict
    assert set(get_args(Sent)) == {Verdict, Unfit, NotSent}
    assert {sent_name(each) for each in (*Verdict, Unfit("too wide"))} == set(WRITTEN)
    assert sent_name(NotSent.THROTTLED) not in WRITTEN
