"""Server reflection, which grpcurl and similar tools use to discover services.

The messages are those of grpcio-reflection. Its servicer is not used, because it imports grpcio's core: 8 MiB that a
sidecar with the nghttp2 transport does not need.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from ratelimitd.proto import POOL
from ratelimitd.transport import GrpcError, GrpcStatus, Stream, StreamHandler

PACKAGES = ("grpc.reflection.v1alpha", "grpc.reflection.v1")
"""The two versions differ only in name. Clients try v1 first."""

NOT_FOUND: Final = {"error_code": GrpcStatus.NOT_FOUND, "error_message": "not found"}
INVALID: Final = {"error_code": GrpcStatus.INVALID_ARGUMENT, "error_message": "invalid argument"}
"""The texts are those of grpcio."""


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
            await stream.send(response(request, services).SerializeToString())

    return serve


def response(request: Any, services: tuple[str, ...]) -> Any:
    """Return the ServerReflectionResponse to a ServerReflectionRequest, for a server with these services."""
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        found: dict[str, Any] = {"list_services_response": {"service": [{"name": name} for name in sorted(services)]}}
    elif kind is None:
        found = {"error_response": INVALID}
    else:
        try:
            found = LOOKUPS[kind](getattr(request, kind))
        except KeyError:
            found = {"error_response": NOT_FOUND}
    return reflection_pb2.ServerReflectionResponse(original_request=request, **found)


def _files(file: Any) -> dict[str, Any]:
    return {"file_descriptor_response": {"file_descriptor_proto": list(_serialized(file, set()))}}


def _serialized(file: Any, seen: set[str]) -> Iterator[bytes]:
    """Yield a file and all its imports, each once; imports are acyclic."""
    seen.add(file.name)
    copy = FileDescriptorProto()
    file.CopyToProto(copy)
    yield copy.SerializeToString()
    for imported in file.dependencies:
        if imported.name not in seen:
            yield from _serialized(imported, seen)


def _extension(request: Any) -> dict[str, Any]:
    message = POOL.FindMessageTypeByName(request.containing_type)
    extension = POOL.FindExtensionByNumber(message, request.extension_number)
    return _files(POOL.FindFileContainingSymbol(extension.full_name))


def _extension_numbers(name: str) -> dict[str, Any]:
    message = POOL.FindMessageTypeByName(name)
    numbers = sorted(extension.number for extension in POOL.FindAllExtensions(message))
    return {"all_extension_numbers_response": {"base_type_name": message.full_name, "extension_number": numbers}}


LOOKUPS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "file_by_filename": lambda name: _files(POOL.FindFileByName(name)),
    "file_containing_symbol": lambda name: _files(POOL.FindFileContainingSymbol(name)),
    "file_containing_extension": _extension,
    "all_extension_numbers_of_type": _extension_numbers,
}
"""Functions that return the fields of a response, by request type. They raise KeyError for an unknown name."""
