"""Control characters in a gateway file: an error with its line, wherever a name or a value is written."""

import pytest

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import WrongValueError, as_it_is
from ratelimitd.config.yaml_nodes import YamlScalar
from ratelimitd.gateway.file import gateway_reader, read_gateway
from ratelimitd.policy import PolicyErrors

MATCHED = frozenset(
    {
        *("regex", "exact", "prefix", "suffix", "contains"),
        *("query_parameter_name", "query_parameters.name", "query_parameters.string_match"),
    }
)
"""What is only compared with parts of a request; a query may have any character, percent-encoded."""

PATHS = frozenset({"tls.cert", "tls.key", "policies", "upstreams.ca"})
"""Paths of files: opening them says what is wrong."""

NOT_READ = frozenset(
    {"disable_key", "apply_on_stream_done", "x_ratelimit_option", "dynamic_metadata", "format", "google_re2"}
)
"""What is passed to Envoy as it is, or ignored."""


def leaves(reader, above=""):
    """Every reader of a value, by the path of its key."""
    inner = [*getattr(reader, "keys", {}).items()]
    if item := getattr(reader, "item", None):
        inner.append(("", item))
    if not inner:
        yield above, reader
    for key, each in inner:
        yield from leaves(each, f"{above}.{key}" if key and above else key or above)


def exempt(path):
    last = path.rpartition(".")[2]
    return last in MATCHED | NOT_READ or any(path.endswith(each) for each in MATCHED | PATHS)


def refuses(reader, text):
    notes = Notes()
    try:
        reader(notes, YamlScalar(text, plain=False, tag=None, line=1))
    except WrongValueError:
        return True
    return bool(notes.errors)


def errors(text):
    with pytest.raises(PolicyErrors) as caught:
        read_gateway("g.yaml", text.encode())
    return caught.value.errors


def test_every_text_of_a_gateway_file_is_checked():
    """A key that is added later is too: its reader refuses a control character, or the key is listed above."""
    found = [*leaves(gateway_reader(for_envoy=False))]
    assert len(found) > 60
    for path, reader in found:
        assert reader is as_it_is or exempt(path) or refuses(reader, "/a\x07b"), path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('upstreams:\n  "a\\n": {url: http://a}\npolicies: {domain: d}\nroutes: [{}]\n', 2),
        ('upstreams: {a: {url: http://a}}\npolicies: {domain: d}\nroutes:\n- name: "r\\n"\n', 4),
        ('upstreams: {a: {url: http://a}}\npolicies: {domain: d}\nroutes: [{}]\nname: "edge\\n"\n', 4),
    ],
)
def test_a_name_with_a_line_feed_is_one_error_with_its_line(text, line):
    """Names of upstreams and routes are in logs and metrics, and those of upstreams in descriptors."""
    (error,) = errors(text)
    assert (error.line, "without control characters: remove U+000A" in error.message) == (line, True)
