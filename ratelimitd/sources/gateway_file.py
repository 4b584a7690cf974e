"""Where a gateway file has its policies: in it, or in the file or folder that it names.

``files`` imports this when a source is a gateway file; no other source needs YAML in the process that serves.
"""

from ratelimitd.config.yaml_nodes import YamlError, YamlList, YamlMap, YamlScalar, is_null, load_yaml, value_of
from ratelimitd.policy import PolicyError, PolicyErrors
from ratelimitd.policy_file import Content


def policies_path(content: bytes) -> str:
    """Return the path that a gateway file names; empty where its policies are in it, or it is not valid."""
    try:
        policies = value_of(load_yaml(content), "policies")
    except YamlError:
        return ""
    return policies.text if isinstance(policies, YamlScalar) and not is_null(policies) else ""


def inline_policies(name: str, content: bytes) -> list[tuple[str, Content]]:
    """Return the policies in a gateway file: one, or a list of them, or none. Raises PolicyErrors."""
    try:
        policies = value_of(load_yaml(content), "policies")
    except YamlError as error:
        raise PolicyErrors([PolicyError(name, error.line, str(error))]) from None
    if isinstance(policies, YamlList):
        return [(name, item) for item in policies.items]
    return [(name, policies)] if isinstance(policies, YamlMap) else []
