"""What a mapping does with the next records, and with a batch that failed."""

from __future__ import annotations

from typing import Any

import pytest

from localaws.errors import WrongSetting
from localaws.event_source import MAX_BATCH_BYTES, Arrived, Failure, Lane, Settings, answered


def lane(*sequences: int, size_bytes: int = 100, now_s: float = 0.0) -> Lane:
    made = Lane()
    for each in sequences:
        made.add(Arrived(each, now_s, size_bytes, {}), now_s)
    return made


def due(made: Lane, settings: Settings, now_s: float = 0.0) -> list[int] | None:
    records = made.due(settings, now_s)
    return None if records is None else [each.sequence for each in records]


def given_up(made: Lane) -> list[tuple[list[int], int]]:
    return [([each.sequence for each in one.records], one.invocations) for one in made.given_up]


def test_a_lane_has_one_invocation_at_a_time() -> None:
    made = lane(1, 2, 3)
    settings = Settings(batch_size=2)
    assert due(made, settings) == [1, 2]
    assert due(made, settings) is None
    made.settle(settings, None, 0.0)
    assert due(made, settings) == [3]


def test_a_batch_waits_for_its_window_unless_it_is_full() -> None:
    settings = Settings(batch_size=3, window_s=5)
    made = lane(1, 2)
    assert due(made, settings, 4.9) is None
    assert due(made, settings, 5.0) == [1, 2]
    assert due(lane(1, 2, 3), settings, 0.0) == [1, 2, 3]


def test_a_batch_is_at_most_six_megabytes_but_never_empty() -> None:
    settings = Settings(batch_size=10, window_s=5)
    half = MAX_BATCH_BYTES // 2
    assert due(lane(1, 2, 3, size_bytes=half), settings) == [1, 2]
    assert due(lane(1, 2, size_bytes=MAX_BATCH_BYTES + 1), settings) == [1]


def test_a_failed_batch_is_tried_again_after_a_pause_that_grows() -> None:
    settings = Settings()
    made, now_s, pauses_s = lane(1, 2), 0.0, []
    for _ in range(9):
        assert due(made, settings, now_s) == [1, 2]
        made.settle(settings, Failure(), now_s)
        pauses_s.append(made.pause_until_s - now_s)
        assert due(made, settings, now_s) is None
        now_s = made.pause_until_s
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] < pauses_s[-1] == 5.0


def test_what_is_before_the_checkpoint_is_done_and_retries_start_over() -> None:
    settings = Settings(partial=True, max_retries=1)
    made = lane(1, 2, 3, 4)
    due(made, settings)
    made.settle(settings, Failure(checkpoint=3), 0.0)
    for _ in range(2):
        assert due(made, settings, 100.0) == [3, 4]
        made.settle(settings, Failure(checkpoint=3), 0.0)
    assert given_up(made) == [([3, 4], 2)]


def test_a_checkpoint_below_the_batch_gets_nothing_done() -> None:
    settings = Settings(partial=True)
    made = lane(5, 6)
    due(made, settings)
    made.settle(settings, Failure(checkpoint=1), 0.0)
    assert due(made, settings, 100.0) == [5, 6]


def test_throttling_is_not_a_retry() -> None:
    settings = Settings(max_retries=0)
    made = lane(1)
    for now_s in (0.0, 100.0, 200.0):
        assert due(made, settings, now_s) == [1]
        made.settle(settings, Failure(throttled=True), now_s)
    assert not made.given_up


def test_bisecting_keeps_the_order_and_costs_no_retry() -> None:
    settings = Settings(bisect=True, max_retries=0)
    made, seen, now_s = lane(1, 2, 3, 4, 5), [], 0.0
    while (found := due(made, settings, now_s)) is not None:
        seen.append(found)
        made.settle(settings, Failure() if 4 in found else None, now_s)
        now_s += 100
    assert seen == [[1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [3], [4, 5], [4], [5]]
    assert given_up(made) == [([4], 1)]


def test_old_records_are_given_up_and_the_others_go_on() -> None:
    settings = Settings(max_age_s=60)
    made = lane(1, 2, now_s=0.0)
    made.add(Arrived(3, 50.0, 100, {}), 50.0)
    assert due(made, settings, 61.0) == [3]
    assert given_up(made) == [([1, 2], 0)]


@pytest.mark.parametrize("answer", [None, "", {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_these_answers_mean_success(answer: Any) -> None:
    assert answered(Settings(partial=True), answer, [Arrived(1, 0, 1, {})]) is None


@pytest.mark.parametrize(
    "answer",
    [
        "anything",
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"otherName": "1"}]},
        {"batchItemFailures": [{"itemIdentifier": "2"}]},
    ],
)
def test_these_answers_fail_the_whole_batch(answer: Any) -> None:
    assert answered(Settings(partial=True), answer, [Arrived(1, 0, 1, {})]) == Failure()


def test_without_the_response_type_the_answer_is_not_read() -> None:
    named = {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert answered(Settings(), named, [Arrived(1, 0, 1, {})]) is None


def test_the_lowest_name_counts() -> None:
    batch = [Arrived(each, 0, 1, {}) for each in (9, 10, 11)]
    named = {"batchItemFailures": [{"itemIdentifier": "11"}, {"itemIdentifier": "9"}]}
    assert answered(Settings(partial=True), named, batch) == Failure(checkpoint=9)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(WrongSetting, match="MaximumRetryAttempts is -2"):
        Settings.read({"MaximumRetryAttempts": -2})
    assert Settings.read({"MaximumRetryAttempts": 0, "MaximumRecordAgeInSeconds": -1}) == Settings(max_retries=0)
