"""Server reflection, which grpcurl and similar tools use to discover services.

The messages are those of grpcio-reflection. Its servicer is not used, because it imports grpcio's core: 8 MiB that a
sidecar with the nghttp2 transport does not need.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from ratelimitd.proto import POOL
from ratelimitd.transport import GrpcError, GrpcStatus, Stream, StreamHandler

PACKAGES = ("grpc.reflection.v1alpha", "grpc.reflection.v1")
"""The two versions differ only in name. Clients try v1 first."""


def reflection_method(package: str) -> str:
    """Return the full method name for a version of the protocol."""
    return f"/{package}.ServerReflection/ServerReflectionInfo"


def reflection_handler(services: tuple[str, ...]) -> StreamHandler:
    """Return the handler for these full service names. It fails with INVALID_ARGUMENT for a malformed request."""

    async def serve(stream: Stream) -> None:
        async for body in stream:
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(body)
            except DecodeError as error:
                raise GrpcError(GrpcStatus.INVALID_ARGUMENT, "the request is not a ServerReflectionRequest") from error
            await stream.send(response(request, services))

    return serve


def response(request: Any, services: tuple[str, ...]) -> bytes:
    """Return the serialized ServerReflectionResponse to a ServerReflectionRequest, for a server with these services.

    Two parts: the request, which is repeated, and the answer, which is serialized once, as the descriptors are fixed.
    """
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        found = _services(services)
    elif kind is None:
        found = INVALID
    else:
        try:
            found = LOOKUPS[kind](getattr(request, kind))
        except KeyError:
            found = NOT_FOUND
    return _serialized(original_request=request) + found


def _serialized(**fields: Any) -> bytes:
    return bytes(reflection_pb2.ServerReflectionResponse(**fields).SerializeToString())


INVALID: Final = _serialized(
    error_response={"error_code": GrpcStatus.INVALID_ARGUMENT, "error_message": "invalid argument"}
)
NOT_FOUND: Final = _serialized(error_response={"error_code": GrpcStatus.NOT_FOUND, "error_message": "not found"})
"""The texts are those of grpcio."""


@cache
def _services(names: tuple[str, ...]) -> bytes:
    return _serialized(list_services_response={"service": [{"name": name} for name in sorted(names)]})


@cache
def _file(name: str) -> bytes:
    """Return the answer with a file of the pool and all its imports."""
    return _serialized(file_descriptor_response={"file_descriptor_proto": list(_with_imports(name, set()))})


def _with_imports(name: str, seen: set[str]) -> Iterator[bytes]:
    """Yield a file and all its imports, each once; imports are acyclic."""
    seen.add(name)
    file = POOL.FindFileByName(name)
    copy = FileDescriptorProto()
    file.CopyToProto(copy)
    yield copy.SerializeToString()
    for imported in file.dependencies:
        if imported.name not in seen:
            yield from _with_imports(imported.name, seen)


def _symbol(name: str) -> bytes:
    return _file(POOL.FindFileContainingSymbol(name).name)


def _extension(request: Any) -> bytes:
    message = POOL.FindMessageTypeByName(request.containing_type)
    return _symbol(POOL.FindExtensionByNumber(message, request.extension_number).full_name)


@cache
def _extension_numbers(name: str) -> bytes:
    message = POOL.FindMessageTypeByName(name)
    numbers = sorted(extension.number for extension in POOL.FindAllExtensions(message))
    return _serialized(
        all_extension_numbers_response={"base_type_name": message.full_name, "extension_number": numbers}
    )


LOOKUPS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "file_by_filename": _file,
    "file_containing_symbol": _symbol,
    "file_containing_extension": _extension,
    "all_extension_numbers_of_type": _extension_numbers,
}
"""Functions that return the answer, by request type. They raise KeyError for an unknown name, and cache only answers to
names of the pool: callers can add none."""
