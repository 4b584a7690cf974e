"""Reflection's answers beside those of grpcio's own servicer."""

import subprocess
import sys

import pytest
from grpc_reflection.v1alpha.reflection import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse

from ratelimitd.proto import POOL
from ratelimitd.rls import reflection
from ratelimitd.rls.reflection import response

SERVICES = ("grpc.health.v1.Health", "envoy.service.ratelimit.v3.RateLimitService")
REQUEST = "envoy.service.ratelimit.v3.RateLimitRequest"

ASKED = [
    {},
    {"list_services": ""},
    {"file_by_filename": "envoy/service/ratelimit/v3/rls.proto"},
    {"file_by_filename": "no/such.proto"},
    {"file_containing_symbol": REQUEST},
    {"file_containing_symbol": "envoy.service.ratelimit.v3.RateLimitService"},
    {"file_containing_symbol": "grpc.health.v1.Health.Check"},
    {"file_containing_symbol": "no.such.Message"},
    {"file_containing_symbol": ""},
    {"all_extension_numbers_of_type": REQUEST},
    {"all_extension_numbers_of_type": "no.such.Message"},
    {"file_containing_extension": ExtensionRequest(containing_type=REQUEST, extension_number=1)},
    {"file_containing_extension": ExtensionRequest(containing_type="no.such.Message", extension_number=1)},
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: " ".join([*asked, *map(str, asked.values())]).strip() or "-")
def test_answers_are_grpcios(asked):
    """Each request is answered as grpcio's servicer answers it, files in its order, errors in its words."""
    request = ServerReflectionRequest(host="localhost", **asked)
    (expected,) = ReflectionServicer(SERVICES, pool=POOL).ServerReflectionInfo(iter((request,)), None)
    assert [ServerReflectionResponse.FromString(response(request, SERVICES)) for _ in range(2)] == [expected] * 2


def test_answers_are_made_once(monkeypatch):
    """The descriptors are fixed: a second answer takes no file from the pool; unknown names take no memory."""
    request = ServerReflectionRequest(file_containing_symbol=REQUEST)
    first = response(request, SERVICES)
    monkeypatch.setattr(reflection, "FileDescriptorProto", None)
    assert response(request, SERVICES) == first
    held = [each.cache_info().currsize for each in (reflection._file, reflection._extension_numbers)]
    for unknown in ("file_by_filename", "file_containing_symbol", "all_extension_numbers_of_type"):
        response(ServerReflectionRequest(**{unknown: "no.such"}), SERVICES)
    assert [each.cache_info().currsize for each in (reflection._file, reflection._extension_numbers)] == held


@pytest.mark.process
def test_grpcios_core_is_not_imported():
    """The service's handlers, reflection and health among them, need grpcio's messages and not its core."""
    asked = "import sys, ratelimitd.rls; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
