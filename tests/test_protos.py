import runpy
from pathlib import Path

from ratelimitd.proto import POOL

ROOT = Path(__file__).parents[1]


def test_the_compiled_messages_are_those_of_protos(tmp_path):
    """ratelimitd/proto/descriptors.bin is what protos/ compiles to now; `make protos` renews it."""
    compile_to = runpy.run_path(str(ROOT / "protos" / "compile.py"))["compile_to"]
    compile_to(tmp_path / "fresh.bin")
    assert (tmp_path / "fresh.bin").read_bytes() == (ROOT / "ratelimitd" / "proto" / "descriptors.bin").read_bytes()


def test_our_request_reads_the_wire_of_envoys():
    """Every field of our bytes-typed request stands at the number, and has the wire type, of Envoy's own."""
    wire = {"string": "bytes", "enum": "uint32"}

    def shape(name):
        kinds = {9: "string", 11: "message", 12: "bytes", 13: "uint32", 14: "enum", 4: "uint64", 8: "bool"}
        message = POOL.FindMessageTypeByName(name)
        return {
            field.number: (
                field.name,
                wire.get(kinds[field.type], kinds[field.type]),
                shape(field.message_type.full_name) if field.message_type else None,
            )
            for field in message.fields
        }

    assert shape("envoy.service.ratelimit.v3.RateLimitRequest") == shape("ratelimitd.wire.v1.RateLimitRequest")
