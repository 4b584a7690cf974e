"""Settings of the proxy: its upstream, by either name."""

import pytest

from ratelimitd.settings import load
from tests.test_settings import problems


@pytest.mark.parametrize(
    ("environ", "flags", "found"),
    [
        ({}, {}, "http://localhost:8081"),
        ({"DOWNSTREAM_URL": "http://a"}, {}, "http://a"),
        ({"UPSTREAM_URL": "http://a"}, {}, "http://a"),
        ({"UPSTREAM_URL": "http://a", "DOWNSTREAM_URL": "http://a"}, {}, "http://a"),
        ({"DOWNSTREAM_URL": "http://a"}, {"UPSTREAM_URL": "http://localhost:8081"}, "http://localhost:8081"),
    ],
)
def test_the_upstream_has_two_names(environ, flags, found):
    """UPSTREAM_URL and DOWNSTREAM_URL are the same setting; a flag wins over the environment."""
    assert load(environ, flags).upstream == found


@pytest.mark.parametrize(
    ("environ", "flags"),
    [
        ({"UPSTREAM_URL": "http://a", "DOWNSTREAM_URL": "http://b"}, {}),
        ({"UPSTREAM_URL": "http://a"}, {"DOWNSTREAM_URL": "http://b"}),
        ({}, {"UPSTREAM_URL": "http://a", "DOWNSTREAM_URL": "http://b"}),
    ],
)
def test_two_upstreams_are_refused(environ, flags):
    """Nobody can tell which is meant."""
    (problem,) = problems(environ, flags).values()
    assert "UPSTREAM_URL is a different one; keep one of the two" in problem


@pytest.mark.parametrize("name", ["UPSTREAM_URL", "DOWNSTREAM_URL"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("localhost:8000", "has no scheme; write http://localhost:8000"),
        ("http://a/path", "not a URL of scheme, host and port"),
        ("ftp://a", "not a URL of scheme, host and port"),
        ("a b", "not a URL of scheme, host and port"),
    ],
)
def test_an_upstream_is_a_url_of_scheme_host_and_port(name, value, told):
    """The error names the variable, not a file nobody wrote."""
    assert told in problems({name: value})[name]


@pytest.mark.parametrize(
    ("value", "listening"),
    [
        ("", None),
        (":8080", ("", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
    ],
)
def test_listen_addr_without_a_host_is_both_families(value, listening):
    """As in Go; 0.0.0.0 is IPv4 alone."""
    assert load({"LISTEN_ADDR": value}, {}).listen_addr == listening
