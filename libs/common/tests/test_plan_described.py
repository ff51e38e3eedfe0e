"""Every question that `plan` asks, and every member of what AWS answers: nothing is left out unsaid."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.session import Session
from botocore.validate import ParamValidator

from crossfade.core.plan.aspects import ASPECTS, Fate
from crossfade.core.plan.attached import KINDS, attached, by_kind, is_listed
from crossfade.core.plan.carry import NOT_CARRIED, READ_BY, Carry, carry_over
from crossfade.core.plan.changes import changes
from crossfade.core.plan.described import QUESTIONS, Question, Unknown, nothing_known, peak_per_s, unknowns
from crossfade.core.plan.refused import REFUSED, refusals
from described_tables import ARN, bare, rich

SESSION = Session()
READS = ("Describe", "List", "Get")


def named(rows: list[Carry]) -> dict[str, Carry]:
    return {each.name: each for each in rows}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.name)
def test_each_question_is_a_call_of_aws_s_that_only_reads(question: Question) -> None:
    model = SESSION.get_service_model(question.service).operation_model(question.operation)
    assert question.operation.startswith(READS)
    assert question.part in model.output_shape.members
    requests = question.requests("orders", rich(), 1_764_000_000.0)
    assert not isinstance(requests, Unknown)
    assert requests, "a table that has everything leaves none unasked"
    for request in requests:
        assert not ParamValidator().validate(request, model.input_shape).has_errors()


@pytest.mark.parametrize("question", [each for each in QUESTIONS if each.later], ids=lambda each: each.name)
def test_a_question_that_needs_an_unknown_answer_says_which_right_that_one_needs(question: Question) -> None:
    refused = {each.name: Unknown(each.action) for each in QUESTIONS}
    asked = question.requests("orders", refused, 0.0)
    assert isinstance(asked, Unknown)
    assert asked.needs in {"dynamodb:DescribeTable", "dynamodb:DescribeKinesisStreamingDestination"}


def test_every_member_of_a_table_s_description_is_carried_or_refused_or_has_a_reason() -> None:
    members = set(SESSION.get_service_model("dynamodb").shape_for("TableDescription").members)
    said = [*READ_BY, *NOT_CARRIED, *REFUSED]
    assert len(said) == len(set(said)), "each once"
    assert set(said) == members
    assert set(READ_BY.values()) <= {each.name for each in ASPECTS}


def test_every_question_is_about_an_aspect_or_somebody_attached_or_a_figure() -> None:
    refused = nothing_known("")
    by_aspect = set()
    for question in QUESTIONS:
        told = {**bare(), question.name: refused[question.name]}
        if any(each.fate is Fate.UNKNOWN for each in carry_over(told, None, table="new")):
            by_aspect.add(question.name)
    figures = {"limits", "written", "destinations"}
    assert {each.name for each in QUESTIONS} == by_aspect | figures | {
        each.name for each in QUESTIONS if is_listed(each.name)
    }


def test_a_bare_table_is_carried_whole_by_an_import() -> None:
    assert [each.name for each in carry_over(bare(), None, table="new") if each.fate is not Fate.CARRIED] == []


FATES = {
    "key": Fate.CARRIED,
    "global indexes": Fate.CARRIED,
    "capacity": Fate.CHANGED,
    "TTL": Fate.CHANGED,
}
"""What an import makes of a table that has everything; the others aren't carried."""


@pytest.mark.parametrize("aspect", [each.name for each in ASPECTS])
def test_each_aspect_of_a_table_that_has_everything_is_carried_changed_or_missing_with_reason_and_command(
    aspect: str,
) -> None:
    row = named(carry_over(rich(), None, table="orders-new"))[aspect]
    assert row.fate is FATES.get(aspect, Fate.MISSING)
    assert bool(row.how) is bool(row.do) is (row.fate is not Fate.CARRIED)
    assert "orders-new" in row.do or aspect in {"key", "global indexes", "local indexes", "autoscaling"}


@pytest.mark.parametrize("aspect", [each.name for each in ASPECTS])
def test_a_target_that_has_it_too_is_the_source_s_equal_and_one_without_it_isn_t(aspect: str) -> None:
    assert named(carry_over(rich(), rich(), table="new"))[aspect].fate is Fate.CARRIED
    lacking = named(carry_over(rich(), bare(), table="new"))[aspect]
    assert (lacking.fate is Fate.CARRIED) is (aspect == "key")
    more = named(carry_over(bare(), rich(), table="new"))[aspect]
    enough = {"key", "warm throughput", "tags", "resource policy"}
    assert (more.fate is Fate.CARRIED) is (aspect in enough), "a target may have more of these"


@pytest.mark.parametrize("question", ["table", "ttl", "recovery", "tags", "policy", "scalable", "insights"])
def test_an_aspect_that_iam_hides_is_unknown_and_never_absent_on_either_side(question: str) -> None:
    action = next(each.action for each in QUESTIONS if each.name == question)
    hidden = {**rich(), question: Unknown(action)}
    unseen = [each for each in carry_over(hidden, None, table="new") if each.fate is Fate.UNKNOWN]
    assert unseen
    assert all(f"unknown: needs {action}" in each.source for each in unseen)
    assert [each.name for each in carry_over(rich(), hidden, table="new") if each.fate is Fate.UNKNOWN] == [
        each.name for each in unseen
    ]


def test_a_key_that_the_mapping_renames_is_the_same_key() -> None:
    target = bare()
    target["table"]["KeySchema"][0]["AttributeName"] = "client"
    target["table"]["AttributeDefinitions"][0]["AttributeName"] = "client"
    assert named(carry_over(bare(), target, table="new"))["key"].fate is Fate.MISSING
    assert named(carry_over(bare(), target, table="new", renamed={"customer": "client"}))["key"].fate is Fate.CARRIED


@pytest.mark.parametrize("sid", ["CrossfadeGuard7", "CrossfadeEpoch12"])
def test_crossfade_s_own_guard_is_no_statement_of_the_source(sid: str) -> None:
    told = rich()
    told["policy"] = f'{{"Statement":{{"Sid":"{sid}","Effect":"Deny"}}}}'
    assert named(carry_over(told, None, table="new"))["resource policy"].fate is Fate.CARRIED


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.kind)
def test_who_is_attached_is_named_with_what_happens_at_a_flip_and_what_to_do(kind: Any) -> None:
    found = by_kind(attached(rich()))[kind.kind]
    assert found.who
    assert found.flip
    assert found.do
    assert not by_kind(attached(bare()))[kind.kind].is_there
    action = next(each.action for each in QUESTIONS if each.name == kind.questions[0])
    hidden = by_kind(attached({**bare(), kind.questions[0]: Unknown(action)}))[kind.kind]
    assert hidden.is_there, "who can't be seen may be there"
    assert action in hidden.unknown


def test_of_all_zero_etl_integrations_those_of_this_table_are_named() -> None:
    assert by_kind(attached(rich()))["zero-ETL integrations"].who == ("ours", "lakehouse")


@pytest.mark.parametrize(
    ("members", "check"),
    [
        ({"Replicas": [{"RegionName": "eu-west-1"}]}, "one_region"),
        ({"GlobalTableWitnesses": [{"RegionName": "eu-west-1"}]}, "one_region"),
        ({"MultiRegionConsistency": "STRONG"}, "one_region"),
        ({"VectorIndexes": [{}]}, "vector_indexes"),
        ({"LocalSecondaryIndexes": [{"IndexName": "by-due"}]}, "local_indexes"),
    ],
)
def test_what_can_t_be_migrated_is_refused_with_the_reason(members: dict[str, Any], check: str) -> None:
    told = bare()
    assert all(each.open for each in refusals(told, written=False, target_is_there=False))
    told["table"] |= members
    shut = [each for each in refusals(told, written=False, target_is_there=False) if not each.open]
    assert [each.name for each in shut] == [check]
    assert len(shut[0].because) > 50


def test_local_indexes_go_where_the_target_was_created_with_them_and_is_filled_by_writes() -> None:
    def opened(*, written: bool, there: bool) -> bool:
        return all(each.open for each in refusals(rich(), written=written, target_is_there=there))

    assert opened(written=True, there=True)
    assert not opened(written=True, there=False)
    assert not opened(written=False, there=True)


def test_a_table_that_can_t_be_seen_is_refused_by_the_right_that_is_missing() -> None:
    hidden = {**bare(), "table": Unknown("dynamodb:DescribeTable")}
    [check] = refusals(hidden, written=False, target_is_there=False)
    assert not check.open
    assert "needs dynamodb:DescribeTable" in check.because


def test_the_peak_is_the_busiest_quarter_of_an_hour_and_none_without_a_metric() -> None:
    assert peak_per_s(rich()) == 200.0
    assert peak_per_s(bare()) is None
    assert peak_per_s({**bare(), "written": Unknown("cloudwatch:GetMetricStatistics")}) is None


def test_unknowns_name_every_missing_right() -> None:
    told = {**bare(), "tags": Unknown("dynamodb:ListTagsOfResource"), "clusters": Unknown("dax:DescribeClusters", "no")}
    assert {name: str(each) for name, each in unknowns(told).items()} == {
        "tags": "unknown: needs dynamodb:ListTagsOfResource",
        "clusters": "unknown: no (dax:DescribeClusters)",
    }


def plan(told: dict[str, Any], **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "checks": [each.as_json() for each in refusals(told, written=False, target_is_there=False)],
        "carry_over": [each.as_json() for each in carry_over(told, None, table="new")],
        "attached": [each.as_json() for each in attached(told)],
        "estimates": [{"name": "rows to move", "value": 100.0, "unit": "rows", "basis": ""}],
    }
    return body | more


def test_two_plans_of_one_table_differ_in_nothing() -> None:
    assert changes(plan(rich()), plan(rich())) == []


def test_what_changed_between_two_plans_is_said_thing_by_thing() -> None:
    now = rich()
    now["triggers"] = [*now["triggers"], {"FunctionArn": f"{ARN}:function:billing", "UUID": "3"}]
    now["stream_consumers"] = []
    now["tags"] = []
    now["table"]["Replicas"] = [{"RegionName": "eu-west-1"}]
    grown = [{"name": "rows to move", "value": 160.0, "unit": "rows", "basis": ""}]
    said = "\n".join(changes(plan(rich()), plan(now, estimates=grown)))
    assert "Lambda functions on the DynamoDB stream: billing is attached now" in said
    assert "enhanced fan-out: lake isn't attached any more" in said
    assert "tags: was team=shop, not carried; is none, carried" in said
    assert "check one_region: was ok" in said
    assert "rows to move: was 100 rows; is 160 rows" in said


def test_a_figure_that_hardly_moved_and_a_check_that_is_new_or_gone() -> None:
    before, now = plan(bare()), plan(bare())
    now["estimates"] = [{"name": "rows to move", "value": 102.0, "unit": "rows", "basis": ""}]
    gone, new = before["checks"].pop(), now["checks"].pop(0)
    assert changes(before, now) == [
        f"check {new['name']} is gone",
        f"check {gone['name']} is new: ok ({gone['because']})",
    ]
