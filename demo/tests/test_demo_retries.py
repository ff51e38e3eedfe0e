"""The demo's clients retry what the contract says, which is the table in proto/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from crossfade_demo.retries import retry_after_s

README = Path(__file__).parents[2] / "proto/README.md"


class Row(NamedTuple):
    code: str
    has_retry_info: bool
    retried: bool


def rows() -> list[Row]:
    table = README.read_text().partition("| Code |")[2].partition("\n\n")[0]
    found = []
    for line in table.splitlines()[2:]:
        code, _, _, retry = (cell.strip() for cell in line.strip("|").split("|"))
        found.append(Row(code.split("`")[1], "RetryInfo" in code, retry == "yes"))
    return found


def refusal(code: str, wait_ms: int | None = None) -> AioRpcError:
    trailing = Metadata()
    if wait_ms is not None:
        retry, status = error_details_pb2.RetryInfo(), status_pb2.Status()
        retry.retry_delay.FromMilliseconds(wait_ms)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason="ANY"))
        status.details.add().Pack(retry)
        trailing.add("grpc-status-details-bin", status.SerializeToString())
    return AioRpcError(grpc.StatusCode[code], Metadata(), trailing)


def test_the_table_names_what_the_api_may_answer() -> None:
    assert len(rows()) == len(set(rows())) == 11
    assert sum(row.retried for row in rows()) == 4


@pytest.mark.parametrize("row", rows(), ids=str)
def test_the_demo_retries_by_the_contracts_table(row: Row) -> None:
    waits = retry_after_s(refusal(row.code, 250 if row.has_retry_info else None))
    assert (waits is not None) == row.retried
    if row.has_retry_info:
        assert waits == 0.25


@pytest.mark.parametrize("code", [each.name for each in grpc.StatusCode if each is not grpc.StatusCode.OK])
def test_a_code_that_the_table_does_not_name_is_not_retried(code: str) -> None:
    named = {row.code for row in rows() if row.retried and not row.has_retry_info}
    assert (retry_after_s(refusal(code)) is not None) == (code in named)


def test_a_delay_is_kept_for_a_lost_outcome_too() -> None:
    assert retry_after_s(refusal("UNAVAILABLE", 800)) == 0.8
