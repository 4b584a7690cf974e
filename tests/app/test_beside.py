"""The default ports of the service beside a proxy."""

import json

import pytest

from ratelimitd.app.beside import beside_proxy
from ratelimitd.gateway import read_gateway
from ratelimitd.settings import load

URL = "http://app.internal"


def ports(environ=None, **file):
    text = json.dumps({"upstreams": {"a": {"url": URL}}, "policies": {"domain": "d"}, "routes": [{}], **file})
    moved = beside_proxy(load(environ or {}, {}), read_gateway("g", text.encode()))
    return moved.port, moved.grpc_port, moved.debug_port


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ({}, (8090, 8081, 6070)),
        ({"listen": ":80"}, (8080, 8081, 6070)),
        ({"listen": ":80", "admin": {"port": 8080}}, (8090, 8081, 6070)),
        ({"upstreams": {"a": {"url": "http://localhost:8081"}}}, (8090, 8091, 6070)),
        ({"upstreams": {"a": {"endpoints": [URL, "http://[::1]:8090"]}}}, (8100, 8081, 6070)),
        ({"upstreams": {"a": {"url": f"{URL}:8081"}}}, (8090, 8081, 6070)),
        ({"listen": ":6070", "upstreams": {"a": {"url": "http://127.0.0.1:6080"}}}, (8080, 8081, 6090)),
    ],
)
def test_a_default_port_makes_room(file, found):
    """For the proxy, its admin port and upstreams on this host; each port is another one."""
    assert ports(**file) == found


def test_a_port_that_is_set_stays():
    """Also where it is the default: two equal ports are an error, which names the setting."""
    assert ports({"PORT": "8080", "GRPC_PORT": "8081"}, listen=":8081") == (8080, 8081, 6070)
    assert ports({"LISTEN_ADDR": ":8081"}) == (8080, 8091, 6070)
