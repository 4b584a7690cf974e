"""The messages on the wire, in a descriptor pool of our own.

In the default pool our copy of Envoy's API would collide with any other one in the process, with a TypeError.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["POOL", "message"]


def _load() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString((files(__name__) / "descriptors.bin").read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _load()


def message(name: str) -> Any:
    """Return the class of a message by its full name; raises KeyError for an unknown one."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))
