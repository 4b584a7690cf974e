"""What the parser and the schema say of a file, side by side."""

import math
import re
from functools import cache

from jsonschema import Draft7Validator

from ratelimitd.cli.schema import SCHEMAS
from ratelimitd.config.schema import FLAG_WORDS, NUMBER
from ratelimitd.config.yaml_nodes import YamlList, YamlMap, YamlScalar, load_yaml, resolve
from ratelimitd.gateway import domain_of, read_gateway
from ratelimitd.policy import PolicyErrors, assemble
from ratelimitd.policy_file import examine, read_overlay
from ratelimitd.sources import GATEWAY_ALGORITHM
from ratelimitd.sources.gateway_file import inline_policies

_CORE = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_CORE_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def as_the_parser(scalar):
    """The value of a scalar as yaml.v2 has it."""
    return resolve(scalar)


def as_an_editor(scalar):
    """The value of a scalar by YAML 1.2 (10.3.2), as the YAML language server has it."""
    text = scalar.text
    if not scalar.plain:
        return resolve(scalar)
    if text in _CORE:
        return _CORE[text]
    if re.fullmatch("[-+]?[0-9]+", text):
        return int(text) if len(text) < 4000 else math.inf
    if re.fullmatch("0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    return float(text.replace(".", "", 1) if "n" in text.lower() else text) if _CORE_FLOAT.fullmatch(text) else text


def as_json(node, value_of):
    """The value of a document; of equal keys the last one applies."""
    if isinstance(node, YamlMap):
        return {
            key.text if isinstance(key, YamlScalar) else f"? {key}": as_json(value, value_of)
            for key, value in node.pairs
        }
    if isinstance(node, YamlList):
        return [as_json(item, value_of) for item in node.items]
    return None if node is None else value_of(node)


def beside(_file, named):
    """Find a file of tiers under each name but one."""
    if named == "nowhere":
        raise FileNotFoundError(2, "no such file")
    return f"{named}.tiers", b"gold: [secret]\n"


def _policy(text):
    return [error.message for error in examine([("f", text)], beside=beside).errors]


def _gateway(text):
    made = read_gateway("f", text, for_envoy=True)
    parsed = examine(inline_policies("f", text), beside=beside, default_algorithm=GATEWAY_ALGORITHM)
    if not parsed.errors and not made.policies:
        domain_of(made, assemble(parsed.rows))
    return [error.message for error in parsed.errors]


def _overlay(text):
    read_overlay("f", text)
    return []


PARSERS = {"policy": _policy, "gateway": _gateway, "overlay": _overlay}


def errors_of(kind, text):
    """The errors of the parser, without their lines."""
    try:
        return PARSERS[kind](text)
    except PolicyErrors as found:
        return [error.message for error in found.errors]


@cache
def validator(kind):
    """The schema of a kind of file."""
    return Draft7Validator(SCHEMAS[kind]())


def is_valid(kind, text, value_of=as_the_parser):
    """Whether the schema accepts a file."""
    return validator(kind).is_valid(as_json(load_yaml(text), value_of))


def faults_of(kind, text, value_of=as_the_parser):
    """What the schema finds wrong with a file."""
    found = validator(kind).iter_errors(as_json(load_yaml(text), value_of))
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def nodes(node):
    """Yield each node of a document."""
    if node is None:
        return
    yield node
    for inner in [each for pair in node.pairs for each in pair] if isinstance(node, YamlMap) else []:
        yield from nodes(inner)
    for inner in node.items if isinstance(node, YamlList) else []:
        yield from nodes(inner)


def is_out_of_sight(text):
    """Whether a fault may be in what JSON has not.

    A key that is written twice or is a list, quotes around yes and 0b11, 1.0 (a whole number to JSON Schema), and .nan.
    """
    for node in nodes(load_yaml(text)):
        if isinstance(node, YamlMap):
            keys = {key.text for key, _ in node.pairs if isinstance(key, YamlScalar)}
            if len(keys) < len(node.pairs):
                return True
        if isinstance(node, YamlScalar):
            value = resolve(node)
            if isinstance(value, float) and (not math.isfinite(value) or value.is_integer()):
                return True
            if not node.plain and re.fullmatch(f"{FLAG_WORDS}|{NUMBER}", node.text):
                return True
    return False
