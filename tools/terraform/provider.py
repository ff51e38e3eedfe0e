"""A provider without a cloud: serves the real AWS provider's schema to Terraform, and does nothing else.

Enough for `terraform validate`, and for `terraform test` with `mock_provider "aws"`, which asks the provider for its
schema only. A call that would do something is refused. One process serves any number of Terraform runs:

    python tools/terraform/provider.py build/tools/terraform/schema.bin
    {"hashicorp/aws": {"Protocol": "grpc", …}}          the value of TF_REATTACH_PROVIDERS; ends when stdin does

Source: Terraform plugin protocol 6; HashiCorp, "Debugging providers" (reattach).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any, Final

import grpc

PROVIDER: Final = "hashicorp/aws"
SERVICE: Final = "/tfplugin6.Provider/"
EMPTY: Final = (
    "ValidateProviderConfig",
    "ValidateResourceConfig",
    "ValidateDataResourceConfig",
    "ConfigureProvider",
    "StopProvider",
)
WORKERS: Final = 8


class Answers(grpc.GenericRpcHandler):
    """Answers in bytes: no message has to be taken apart."""

    def __init__(self, schema: bytes) -> None:
        self._schema = schema

    def service(self, handler_call_details: Any) -> Any:
        """Return what answers a call; None for what is not implemented here."""
        name = handler_call_details.method.removeprefix(SERVICE)
        if name == "GetProviderSchema":
            return _unary(self._schema)
        return _unary(b"") if name in EMPTY else None


def _unary(answer: bytes) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: answer, request_deserializer=lambda body: body, response_serializer=lambda body: body
    )


def reattach(socket: str) -> str:
    """Return the value of TF_REATTACH_PROVIDERS for a provider that listens there."""
    address = {"Network": "unix", "String": socket}
    return json.dumps(
        {PROVIDER: {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}}
    )


def main() -> None:
    """Serve until stdin closes."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS), options=options)
    server.add_generic_rpc_handlers((Answers(Path(sys.argv[1]).read_bytes()),))
    with tempfile.TemporaryDirectory() as folder:
        server.add_insecure_port(f"unix://{folder}/socket")
        server.start()
        sys.stdout.write(reattach(f"{folder}/socket") + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.stop(0.2)


if __name__ == "__main__":
    main()
