"""The settings of a control plane, as envoyproxy/ratelimit reads them."""

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main
from ratelimitd.settings import SettingsError, load
from ratelimitd.settings.xds import XdsRows

XDS = {"CONFIG_TYPE": "GRPC_XDS_SOTW"}
TLS = {**XDS, "CONFIG_GRPC_XDS_SERVER_USE_TLS": "true"}
PREFIX = "CONFIG_GRPC_XDS_"


def problems(environ):
    with pytest.raises(SettingsError) as caught:
        load(environ, {})
    return {problem.name: problem.message for problem in caught.value.problems}


def test_defaults_are_upstreams():
    """With CONFIG_TYPE alone, envoyproxy/ratelimit asks the same control plane in the same way."""
    settings = load(XDS, {})
    assert settings.over_xds
    assert (settings.config_grpc_xds_server_url, settings.config_grpc_xds_node_id) == ("localhost:18000", "default")
    assert settings.config_grpc_xds_server_connect_retry_interval == 3
    assert (settings.xds_client_backoff_initial_interval, settings.xds_client_backoff_max_interval) == (10, 60)
    assert (settings.xds_client_backoff_random_factor, settings.xds_client_backoff_jitter) == (0.5, True)
    assert (settings.config_grpc_xds_server_use_tls, settings.xds_client_max_msg_size_in_bytes) == (False, 0)
    assert not load({}, {}).over_xds


def test_metadata_of_the_node():
    """An item is split at its first =, and one without is left out."""
    settings = load({**XDS, "CONFIG_GRPC_XDS_NODE_METADATA": "a=b,c=d=e,f,g="}, {})
    assert settings.config_grpc_xds_node_metadata == (("a", "b"), ("c", "d=e"), ("g", ""))
    assert load(XDS, {}).config_grpc_xds_node_metadata == ()


def test_headers():
    """Names are lower-cased, as HTTP/2 requires."""
    settings = load({**XDS, "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": "X-Team:edge, x-b : 2"}, {})
    assert settings.config_grpc_xds_client_additional_headers == (("x-team", "edge"), ("x-b", "2"))


@pytest.mark.parametrize("text", ["a", "a:b:c", "a:1,", ":1", "a b:1", "a:\x01", "ä:1"])
def test_a_header_has_one_colon_and_a_name(text):
    """Anything else ends the start, as upstream; the value, which may be a token, is not shown."""
    found = problems({**XDS, "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": f"x:canary,{text}"})
    assert found["CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS"].startswith("item ")
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("text", "target"),
    [("envoy-gateway:18001", "envoy-gateway:18001"), ("passthrough:///a:1", "a:1"), ("dns:///a:1", "dns:///a:1")],
)
def test_targets(text, target):
    """A scheme of gRPC is passed on; Go's passthrough is what C calls no scheme."""
    assert load({**XDS, "CONFIG_GRPC_XDS_SERVER_URL": text}, {}).config_grpc_xds_server_url == target


@pytest.mark.parametrize(
    ("environ", "name", "why"),
    [
        ({**XDS, PREFIX + "SERVER_URL": "http://a:1"}, PREFIX + "SERVER_URL", "write host:port"),
        ({**XDS, PREFIX + "SERVER_URL": ""}, PREFIX + "SERVER_URL", "write host:port"),
        ({**TLS, PREFIX + "CLIENT_TLS_CERT": "c"}, PREFIX + "CLIENT_TLS_CERT", "CLIENT_TLS_KEY is required"),
        ({**TLS, PREFIX + "CLIENT_TLS_KEY": "k"}, PREFIX + "CLIENT_TLS_KEY", "CLIENT_TLS_CERT is required"),
        ({**XDS, PREFIX + "SERVER_TLS_CACERT": "c"}, PREFIX + "SERVER_TLS_CACERT", "plain text"),
        ({**XDS, PREFIX + "SERVER_TLS_SAN": "c"}, PREFIX + "SERVER_TLS_SAN", "plain text"),
        ({"XDS_CLIENT_BACKOFF_RANDOM_FACTOR": "-1"}, "XDS_CLIENT_BACKOFF_RANDOM_FACTOR", "from 0 to 1000"),
        ({"XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": "2g"}, "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", "at most 2147483647"),
    ],
)
def test_what_ends_the_start(environ, name, why):
    """What cannot be, or would weaken the connection, is one clear error."""
    found = problems(environ)
    assert list(found) == [name]
    assert why in found[name]


def test_variables_of_a_control_plane_that_is_not_asked_are_named():
    """Without CONFIG_TYPE the policy comes from files, and upstream ignores them without a word."""
    (warning,) = load({"CONFIG_GRPC_XDS_NODE_ID": "canary", "CONFIG_TYPE": "FILE"}, {}).warnings
    assert warning.endswith("without CONFIG_TYPE=GRPC_XDS_SOTW: CONFIG_GRPC_XDS_NODE_ID")
    assert load({**XDS, "CONFIG_GRPC_XDS_NODE_ID": "a"}, {}).warnings == ()


def test_a_proxy_has_no_control_plane():
    """Its policies are those of its gateway file, so the variable would be without effect."""
    done = CliRunner(env=XDS).invoke(main, ["proxy"])
    assert (done.exit_code, "unset CONFIG_TYPE" in done.stderr) == (2, True)


def test_every_variable_of_upstream_has_a_row():
    """No more and no fewer."""
    names = [name.upper() for name in vars(XdsRows) if not name.startswith("_")]
    assert [name for name in names if not name.startswith((PREFIX, "XDS_CLIENT_"))] == []
    assert len(names) == 15
