"""Files of every kind: those of the repository, every text of its tests as a file or a part of one, and mutants."""

import ast
import json
import re
from functools import cache
from pathlib import Path

from ratelimitd.config.yaml_nodes import YamlError, load_yaml

ROOT = Path(__file__).parents[2]

ROOMS = ("policy_file", "gateway", "lint")
"""Rooms of tests whose texts are read."""

HEAD = "domain: d\ndescriptors:\n"
GATEWAY = "upstreams: {app: {url: 'http://a'}}\npolicies: {domain: d}\n"
TEMPLATES = {
    "policy": [
        "%s",
        HEAD + "%s",
        HEAD + "- key: k\n  %s",
        HEAD + "- {key: k, rate_limit: {%s}}",
        HEAD + "- {key: k, rate_limit: %s}",
        HEAD + "- {key: k, rate_limits: [{unit: day, requests_per_unit: 2, %s}]}",
        "domain: d\n%s",
        "domain: d\nidentity: {%s}",
        "domain: d\nidentity: {key: k, tiers: {%s}}",
    ],
    "gateway": [
        "%s",
        GATEWAY + "routes: [{}]\n%s",
        GATEWAY + "routes: [%s]",
        GATEWAY + "routes: [{match: %s}]",
        GATEWAY + "routes: [{rate_limits: [%s]}]",
        GATEWAY + "routes: [{rate_limits: [{actions: [%s]}]}]",
        "upstreams: {app: {url: 'http://a', %s}}\npolicies: {domain: d}\nroutes: [{}]\n",
        "upstreams: {app: %s}\npolicies: {domain: d}\nroutes: [{}]\n",
    ],
    "overlay": ["%s", "overlay:\n- domain: d\n  %s", "overlay: [{domain: d, %s}]", "overlay:\n%s"],
}
"""Where a text may be a part of a file."""


def examples():
    """Return the example files, by kind."""
    return {
        "policy": [*(ROOT / "examples" / "policies").glob("*.yaml"), ROOT / "examples" / "llm" / "policy.yaml"],
        "gateway": [*(ROOT / "examples").glob("*/gateway.yaml"), *(ROOT / "examples" / "gateway").glob("*.yaml")],
        "overlay": sorted((ROOT / "examples" / "overlay").glob("*.yaml")),
    }


def _in_code(path):
    tree = ast.parse(path.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@cache
def texts():
    """Return every text of the tests, the YAML of every page, and every YAML file beside them."""
    found: set[str] = set()
    for room in ROOMS:
        for path in (ROOT / "tests" / room).glob("**/*.py"):
            found |= _in_code(path)
    for path in [*(ROOT / "docs").glob("**/*.md"), ROOT / "README.md"]:
        found |= set(re.findall(r"^ *```yaml\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL))
    for path in [*(ROOT / "tests").glob("**/*.yaml"), *(ROOT / "k8s").glob("*.yaml")]:
        found.add(path.read_text())
    return tuple(sorted(text for text in found if ":" in text and len(text) < 20_000))


def is_map(text):
    """Whether a text is YAML, and a map."""
    try:
        return hasattr(load_yaml(text), "pairs")
    except YamlError:
        return False


@cache
def corpus(kind):
    """Return the files of a kind."""
    files = [path.read_bytes() for path in examples()[kind]]
    made = {template.replace("%s", text).encode() for text in texts() for template in TEMPLATES[kind]}
    return tuple(files + sorted(filter(is_map, made)))


ODD = (None, True, 5, -1, 1.5, 1 << 70, "", "x", "*", [], [None], {}, {"x": 1})
"""Values in place of others."""


def mutants(value, put=lambda made: made):
    """Yield files that differ from one in one place: another value, a key that is gone, misspelled, or too much."""
    for odd in ODD:
        yield put(odd)
    if isinstance(value, dict):
        yield put({**value, "unknown": 1})
        yield put({**value, "unit": "day"})
        for key, inner in value.items():
            rest = {name: each for name, each in value.items() if name != key}
            yield put(rest)
            yield put({**rest, f"{key}s": inner})
            yield from mutants(inner, lambda made, rest=rest, key=key: put({**rest, key: made}))
    if isinstance(value, list):
        for at, inner in enumerate(value):
            yield put([*value, inner])
            yield from mutants(inner, lambda made, at=at: put([*value[:at], made, *value[at + 1 :]]))


def mutated(whole):
    """Return the mutants of a file, which as JSON is YAML."""
    return [json.dumps(made).encode() for made in mutants(whole)]
