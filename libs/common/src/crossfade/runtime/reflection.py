"""gRPC server reflection under both of its names.

`grpcio-reflection` 1.85 serves `grpc.reflection.v1alpha` alone. Version 1 is the same protocol under another package
(grpc/doc/server-reflection.md): same messages, fields and numbers. So one servicer answers both, and the descriptor of
version 1, which clients may ask for in its turn, is that of v1alpha with the package changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA: Final = reflection.SERVICE_NAME
V1: Final = "grpc.reflection.v1.ServerReflection"

_V1_FILE: Final = "grpc/reflection/v1/reflection.proto"


def enable_reflection(names: Sequence[str], server: grpc.aio.Server) -> None:
    """Let clients ask a server what it serves.

    Args:
        names: of its services, in full.
        server: not started yet.
    """
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer((*names, V1, V1ALPHA))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, V1ALPHA):
        handlers = {"ServerReflectionInfo": method}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def _describe_v1() -> None:
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_V1_FILE)
        return
    except KeyError:
        pass
    old = reflection_pb2.DESCRIPTOR.package
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = _V1_FILE, V1.rpartition(".")[0]

    def moved(name: str) -> str:
        return name.replace(f".{old}.", f".{file.package}.", 1)

    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = moved(field.type_name)
    for method in file.service[0].method:
        method.input_type, method.output_type = moved(method.input_type), moved(method.output_type)
    pool.Add(file)
