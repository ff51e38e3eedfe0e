"""Which refusals a client of the API answers by sending the same request again: the table in proto/README.md."""

from __future__ import annotations

from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2

UNKNOWN_OUTCOME: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Sent again whatever they carry: a lost connection or a deadline has no details."""

_DETAILS: Final = "grpc-status-details-bin"


def retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    """Return after how long the same request, with the same transaction id, is to be sent again; None for never."""
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS and isinstance(value, bytes):
            for each in status_pb2.Status.FromString(value).details:
                retry = error_details_pb2.RetryInfo()
                if each.Unpack(retry):
                    return float(retry.retry_delay.ToNanoseconds() / 1e9)
    return 0.0 if error.code() in UNKNOWN_OUTCOME else None
