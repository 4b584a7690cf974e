"""The files that a gateway file names: its policies, if they are not inline, and authorities of upstreams.

``files`` imports this module only for a gateway file; other sources need no YAML in the serving process.
"""

from ratelimitd.config.yaml_nodes import (
    YamlError,
    YamlList,
    YamlMap,
    YamlNode,
    YamlScalar,
    is_null,
    load_yaml,
    value_of,
)
from ratelimitd.policy import PolicyError, PolicyErrors
from ratelimitd.policy_file import Content


def named_files(content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the path of the policies in a gateway file, and those of the authorities of its upstreams (``ca``).

    The first is empty if they are inline; both are empty if the file is invalid.
    """
    try:
        root = load_yaml(content)
    except YamlError:
        return "", ()
    upstreams = value_of(root, "upstreams")
    named = [value_of(upstream, "ca") for _, upstream in upstreams.pairs] if isinstance(upstreams, YamlMap) else []
    return _name(value_of(root, "policies")), tuple(filter(None, map(_name, named)))


def _name(node: YamlNode | None) -> str:
    return node.text if isinstance(node, YamlScalar) and not is_null(node) else ""


def inline_policies(name: str, content: bytes) -> list[tuple[str, Content]]:
    """Return the inline policies of a gateway file, which may have one, several or none. Raises PolicyErrors."""
    try:
        policies = value_of(load_yaml(content), "policies")
    except YamlError as error:
        raise PolicyErrors([PolicyError(name, error.line, str(error))]) from None
    if isinstance(policies, YamlList):
        return [(name, item) for item in policies.items]
    return [(name, policies)] if isinstance(policies, YamlMap) else []
