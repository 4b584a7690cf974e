"""The command that makes traffic for a service: what the page shows before there is any."""

import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from ratelimitd.app.live_facts import check_command
from ratelimitd.policy_file import parse
from ratelimitd.settings import load

POLICY = """
domain: {domain}
descriptors:
  - key: free
    descriptors:
      - key: "{key}"
        value: "{value}"
        rate_limit: {{unit: day, requests_per_unit: 2}}
"""
TLS = {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": "c", "GRPC_SERVER_TLS_KEY": "k"}


def command(listening="127.0.0.1:81", domain="d", key="user", value="", env=None):
    policy = parse([("policy.yaml", POLICY.format(domain=domain, key=key, value=value).encode())])
    service: Any = SimpleNamespace(policies=SimpleNamespace(policy=policy), settings=load(env or {}, {}))
    return check_command(service, listening)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "ratelimitd check --address 127.0.0.1:81 -d d free=test,user=test"),
        ({"listening": "0.0.0.0:81"}, "ratelimitd check --address localhost:81 -d d free=test,user=test"),
        ({"listening": "[::]:81"}, "ratelimitd check --address localhost:81 -d d free=test,user=test"),
        ({"value": "a"}, "ratelimitd check --address 127.0.0.1:81 -d d free=test,user=a"),
        ({"value": "a*"}, "ratelimitd check --address 127.0.0.1:81 -d d free=test,user=a"),
        ({"env": TLS}, ""),
        ({"env": {"GRPC_UDS": "/s"}}, ""),
    ],
)
def test_it_asks_for_the_first_limit(options, expected):
    """At an address that a client on this host reaches; none where a client needs more than that."""
    assert command(**options) == expected


def test_it_is_one_command_whatever_the_policy_contains():
    """A shell that it is pasted to runs nothing else."""
    made = command(domain='"; rm -rf ~"', key="$(touch x)", value="`y`")
    assert shlex.split(made)[4:] == ["-d", "; rm -rf ~", "free=test,$(touch x)=`y`"]


def test_without_a_policy_there_is_none():
    """Nor without a limit."""
    service: Any = SimpleNamespace(policies=SimpleNamespace(policy=None), settings=load({}, {}))
    assert check_command(service, "127.0.0.1:81") == ""
