"""What ``ratelimitd envoy`` tells: what Envoy does otherwise than the proxy, warnings and errors."""

import pytest

from ratelimitd.cli.bootstrap import ERROR, OK, BootstrapOptions, make, run
from tests.gateway.written import CALLER, LIMIT, write

pytestmark = pytest.mark.slow

OWN = {"rate_limits": [{"actions": [CALLER], "limit": {"rate_limit": {"requests_per_unit": 1, "unit": "DAY"}}}]}


def counted(action, **fields):
    """A file with one route, whose limit counts by this action."""
    return {"routes": [{"rate_limits": [{"actions": [{action: {**fields, "descriptor_key": "remote_address"}}]}]}]}


GAPS = [
    ({"limits": {"max_body": "1MiB"}}, "limits: max_body, which the file sets"),
    ({"limits": {"min_body_rate": 0}}, "limits: min_body_rate, which the file sets"),
    ({"upstreams": {"app": {"url": "http://a", "max_connections_per_client": 9}}}, "upstream app: max_connections_per"),
    ({"limits": {"max_head": "1GiB"}}, "limits: max_head is 8 MiB"),
    ({"upstreams": {"app": {"url": "http://a", "max_head": "1GiB"}}}, "upstream app: max_head is 8 MiB"),
    ({"admin": {"port": 9}}, "admin: the settings of the file"),
    ({"rate_limited_status": 420}, "rate_limited_status: 420"),
    ({"error_details": True}, "error_details: the body"),
    (counted("query_parameters", query_parameter_name="q"), "queries: a request with two parameters q is accepted"),
    (counted("request_headers", header_name="x-client-trace-id"), "headers: a request with two lines of x-client"),
    ({"trusted_proxies": ["10.0.0.0/8"]}, "headers: X-Forwarded-For"),
    ({"upstreams": {"app": {"url": "http://a", "breaker": {"consecutive": 1}}}}, "upstream app: breaker"),
    (
        {"upstreams": {"app": {"endpoints": ["http://a", "http://b"], "balance": {"statuses": [500]}}}},
        "upstream app: 'statuses' of balance",
    ),
    ({"upstreams": {"app": {"url": "http://a", "read_timeout": "1s"}}}, "upstream app: read_timeout and"),
    ({"upstreams": {"app": {"url": "https://a"}}}, "upstream app: certificates"),
    ({"tls": {"cert": "a", "key": "b"}}, "tls: certificates"),
    ({"upstreams": {"app": {"url": "https://a", "ca": "b"}}}, "upstream app: the file of 'ca'"),
    (
        {"upstreams": {"app": {"endpoints": ["https://a:1", "https://b:2"], "host": "rewrite"}}},
        "upstream app: Host has no port",
    ),
    ({"encoded_slash": "keep"}, "paths: an encoded backslash"),
    ({"rules": [{"key": "a", "rate_limit": {"unit": "hour", "requests_per_unit": 2}}]}, "serve the same file"),
    ({"rules": [{"key": "a", "rate_limit": {"concurrent": 2, "queue": {}}}]}, "queue: no request waits"),
    ({"routes": [OWN]}, "serve the same file"),
    ({"routes": [{"rate_limits": [{"actions": [CALLER], "stage": 1, "hits_addend": {"number": 2}}]}]}, "route /: hits"),
]


@pytest.fixture(scope="module")
def gaps_of_a_plain_file(tmp_path_factory):
    """What Envoy cannot do of a file with nothing special in it."""
    return make(write(tmp_path_factory.mktemp("plain")), BootstrapOptions()).gaps


@pytest.mark.parametrize(("top", "told"), GAPS)
def test_what_of_a_file_envoy_cannot_do_is_told(top, told, tmp_path, gaps_of_a_plain_file):
    """Each thing that a file says and Envoy does not do has a line, which a file without it has not."""
    assert not [line for line in gaps_of_a_plain_file if told in line]
    assert len([line for line in make(write(tmp_path, **top), BootstrapOptions()).gaps if told in line]) == 1


def test_headers_that_tell_callers_apart_are_told(tmp_path):
    """Two lines of such a header are refused by the proxy alone, so each is named."""
    actions = [{"request_headers": {"header_name": name, "descriptor_key": "key"}} for name in ("X-Token", "X-Other")]
    identity = {"key": "key", "tiers": {"gold": ["secret"]}}
    policies = {"domain": "d", "identity": identity, "descriptors": [LIMIT]}
    made = make(write(tmp_path, {"rate_limits": [{"actions": actions}]}, policies=policies), BootstrapOptions())
    told = [line for line in made.gaps if "two lines" in line]
    assert [name for line in told for name in ("x-api-key", "x-other", "x-token") if name in line] == [
        "x-api-key",
        "x-other",
        "x-token",
    ]


def test_the_command_writes_a_file_and_tells_on_stderr(tmp_path, capsys):
    """The bootstrap goes to the file, or to stdout, and nothing but what is to be known to stderr."""
    file, output = write(tmp_path), tmp_path / "out.yaml"
    assert run(file, output, BootstrapOptions()) == OK
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(line.startswith("differs from `ratelimitd proxy`: ") for line in shown.err.splitlines())
    assert run(file, None, BootstrapOptions()) == OK
    assert capsys.readouterr().out == output.read_text()


REPORT = [
    {"actions": [{"remote_address": {}}]},
    {"actions": [{"remote_address": {}}], "hits_addend": {"number": 500}, "apply_on_stream_done": True},
]


def test_warnings_of_the_lint_are_told_on_stderr(tmp_path, capsys):
    """As ``validate`` tells them, of the routes that the bootstrap has."""
    limit = {"key": "remote_address", "rate_limit": {"unit": "hour", "requests_per_unit": 5}}
    assert run(write(tmp_path, {"rate_limits": REPORT}, rules=[limit]), tmp_path / "out.yaml", BootstrapOptions()) == OK
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told.endswith(" [cost-without-charge]")


def test_errors_are_told_with_their_lines(tmp_path, capsys):
    """A file that is wrong, or not there, gives its errors on stderr, nothing on stdout, and 2."""
    (tmp_path / "wrong.yaml").write_text("upstreams: {}\nroutes: []\n")
    for name, told in (("wrong.yaml", "(line 2)"), ("none.yaml", "none.yaml: cannot be read")):
        assert run(str(tmp_path / name), None, BootstrapOptions()) == ERROR
        shown = capsys.readouterr()
        assert shown.out == ""
        assert told in shown.err
