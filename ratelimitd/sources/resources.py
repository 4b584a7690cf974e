"""From the resources of a response to the documents that an operator would have written.

So one parser has every rule of a policy. It runs in the child process.
"""

import base64
import math
from typing import Any, Final

from google.protobuf.message import DecodeError

from ratelimitd.config.control_characters import control_in_value
from ratelimitd.config.yaml_nodes import BINARY_TAG, YamlList, YamlMap, YamlNode, YamlScalar
from ratelimitd.policy import PolicyError, PolicyErrors
from ratelimitd.policy_file import Document
from ratelimitd.proto import message

from .pushed import TYPE

_Response: Final = message("envoy.service.discovery.v3.DiscoveryResponse")
_Config: Final = message("ratelimit.config.ratelimit.v3.RateLimitConfig")
_UNITS: Final = message("ratelimit.config.ratelimit.v3.RateLimitPolicy").DESCRIPTOR.fields_by_name["unit"].enum_type

NO_TYPE: Final = "the resource has the type '{}': send '{}'"
NO_RESPONSE: Final = "the response has a field that cannot be parsed: its resources must be google.protobuf.Any"
NO_MESSAGE: Final = "the resource is no RateLimitConfig: its bytes cannot be parsed"
SAME_NAME: Final = "another resource of the response has this name too: give each a name of its own"

FLAGS: Final = ("shadow_mode", "quota_mode", "detailed_metric")

LINE: Final = 0
"""There are no lines."""


def documents(body: bytes | None, server: str) -> list[Document]:
    """Return a document for each resource. Raises PolicyErrors with all resources that are none, by name."""
    if body is None:
        return []
    try:
        response = _Response.FromString(body)
    except DecodeError:
        raise PolicyErrors([PolicyError(server, LINE, NO_RESPONSE)]) from None
    errors: list[PolicyError] = []
    found: list[Document] = []
    names = set()
    if response.type_url != TYPE:
        errors.append(PolicyError(server, LINE, f"the response has the type '{response.type_url}': send '{TYPE}'"))
    for number, resource in enumerate(response.resources, 1):
        unnamed = f"resource {number}"
        if resource.type_url != TYPE:
            errors.append(PolicyError(unnamed, LINE, NO_TYPE.format(resource.type_url, TYPE)))
            continue
        try:
            config = _Config.FromString(resource.value)
        except DecodeError:
            errors.append(PolicyError(unnamed, LINE, NO_MESSAGE))
            continue
        name = config.name or unnamed
        if name in names:
            errors.append(PolicyError(name, LINE, SAME_NAME))
        names.add(name)
        found.append(Document(name, _config(config)))
    if errors:
        raise PolicyErrors(errors)
    return found


def _config(config: Any) -> YamlMap:
    return _map({"domain": _text(config.domain), **_descriptors(config)})


def _descriptors(parent: Any) -> dict[str, YamlNode]:
    found = [_descriptor(each) for each in parent.descriptors]
    return {"descriptors": YamlList(found, LINE)} if found else {}


def _descriptor(descriptor: Any) -> YamlNode:
    fields: dict[str, YamlNode] = {"key": _text(descriptor.key)}
    if descriptor.value:
        fields["value"] = _value(descriptor.value)
    if descriptor.HasField("rate_limit"):
        fields["rate_limit"] = _limit(descriptor.rate_limit)
    if descriptor.HasField("metadata"):
        fields["metadata"] = _struct(descriptor.metadata)
    fields.update((flag, TRUE) for flag in FLAGS if getattr(descriptor, flag))
    return _map(fields | _descriptors(descriptor))


def _limit(limit: Any) -> YamlNode:
    fields: dict[str, YamlNode] = {}
    if limit.unlimited:
        fields["unlimited"] = TRUE
    else:
        fields["requests_per_unit"] = _plain(str(limit.requests_per_unit))
    if limit.unit or not limit.unlimited:
        unit = _UNITS.values_by_number.get(limit.unit)
        fields["unit"] = _text(unit.name if unit is not None else str(limit.unit))
    if limit.name:
        fields["name"] = _text(limit.name)
    if limit.replaces:
        fields["replaces"] = YamlList([_map({"name": _text(each.name)}) for each in limit.replaces], LINE)
    return _map(fields)


def _struct(struct: Any) -> YamlNode:
    return YamlMap([(_text(key), _any(value)) for key, value in struct.fields.items()], LINE)


def _any(value: Any) -> YamlNode:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return YamlList([_any(each) for each in value.list_value.values], LINE)
    if kind == "string_value":
        return _text(value.string_value)
    if kind == "number_value":
        return _plain(_number(value.number_value))
    return _plain(str(value.bool_value).lower()) if kind == "bool_value" else _plain("null")


def _number(number: float) -> str:
    """Write a number as YAML does, where infinity has words of its own; all numbers of a Struct are doubles."""
    if math.isnan(number):
        return ".nan"
    if math.isinf(number):
        return ".inf" if number > 0 else "-.inf"
    return repr(number)


def _map(fields: dict[str, YamlNode]) -> YamlMap:
    return YamlMap([(_key(key), value) for key, value in fields.items()], LINE)


def _key(name: str) -> YamlNode:
    return KEYS.setdefault(name, _plain(name))


def _value(text: str) -> YamlNode:
    """Return a value; one with control characters, which is an error if it is written as text, as !!binary."""
    if not control_in_value(text):
        return _text(text)
    return YamlScalar(base64.b64encode(text.encode()).decode(), False, BINARY_TAG, LINE)  # noqa: FBT003 -- not plain


def _text(text: str) -> YamlScalar:
    return YamlScalar(text, False, None, LINE)  # noqa: FBT003 -- as if quoted


def _plain(text: str) -> YamlScalar:
    return YamlScalar(text, True, None, LINE)  # noqa: FBT003 -- a number, a bool or null


TRUE: Final = _plain("true")
KEYS: Final[dict[str, YamlNode]] = {}
