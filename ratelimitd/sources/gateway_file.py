"""Location of a gateway file's policies: inline, or in the file or folder that it names.

``files`` imports this module only for a gateway file; other sources need no YAML in the serving process.
"""

from ratelimitd.config.yaml_nodes import YamlError, YamlList, YamlMap, YamlScalar, is_null, load_yaml, value_of
from ratelimitd.policy import PolicyError, PolicyErrors
from ratelimitd.policy_file import Content


def policies_path(content: bytes) -> str:
    """Return the path of the policies in a gateway file; empty if they are inline or the file is invalid."""
    try:
        policies = value_of(load_yaml(content), "policies")
    except YamlError:
        return ""
    return policies.text if isinstance(policies, YamlScalar) and not is_null(policies) else ""


def inline_policies(name: str, content: bytes) -> list[tuple[str, Content]]:
    """Return the inline policies of a gateway file, which may have one, several or none. Raises PolicyErrors."""
    try:
        policies = value_of(load_yaml(content), "policies")
    except YamlError as error:
        raise PolicyErrors([PolicyError(name, error.line, str(error))]) from None
    if isinstance(policies, YamlList):
        return [(name, item) for item in policies.items]
    return [(name, policies)] if isinstance(policies, YamlMap) else []
