"""Server reflection, so that grpcurl and its kin can ask what we speak. grpcio's own answers, over our pool."""

from typing import Any

from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ratelimitd.proto import POOL
from ratelimitd.transport import GrpcError, Status, Stream, StreamHandler

PACKAGES = ("grpc.reflection.v1alpha", "grpc.reflection.v1")
"""The two versions differ in name alone; clients try v1 first."""


def reflection_method(package: str) -> str:
    """Return the full method name in a version of the protocol."""
    return f"/{package}.ServerReflection/ServerReflectionInfo"


def reflection_handler(services: tuple[str, ...]) -> StreamHandler:
    """Answer for these full service names; INVALID_ARGUMENT for bytes that are not a request."""
    servicer: Any = reflection.ReflectionServicer(services, pool=POOL)

    async def serve(stream: Stream) -> None:
        async for body in stream:
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(body)
            except DecodeError as error:
                raise GrpcError(Status.INVALID_ARGUMENT, "the request is not a ServerReflectionRequest") from error
            for answer in servicer.ServerReflectionInfo(iter((request,)), None):
                await stream.send(answer.SerializeToString())

    return serve
