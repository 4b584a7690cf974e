"""The bootstrap that is made of a gateway file: what a real Envoy says of it, and what is told about the rest."""

import shlex
import subprocess
from pathlib import Path

import pytest
import trustme
import yaml

from ratelimitd.cli.bootstrap import BootstrapOptions, CommandError, make
from testkit.envoy import BINARY
from tests.gateway.written import CALLER, LIMIT, write

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "envoy").glob("*.yaml"))


def validated(text, folder):
    """Have the real Envoy look at a bootstrap."""
    path = folder / "envoy.yaml"
    path.write_text(text)
    said = subprocess.run(
        [str(BINARY), "--mode", "validate", "--log-level", "warning", "-c", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    return said.stderr


def asked(words):
    """Read the command line in the first line of a bootstrap of ours."""
    program, command, file, *flags = shlex.split(words.removeprefix("# "))
    assert (program, command) == ("ratelimitd", "envoy")
    said = dict(zip(flags[::2], flags[1::2], strict=True))
    host, _, port = said.pop("--rls").rpartition(":")
    assert not said
    return file, BootstrapOptions(rls=(host, int(port)))


def manager(text):
    """The connection manager for clients that are not trusted."""
    (listener,) = yaml.safe_load(text)["static_resources"]["listeners"]
    return listener["default_filter_chain"]["filters"][-1]["typed_config"]


def limiter(text):
    return manager(text)["http_filters"][0]["typed_config"]


@pytest.mark.envoy
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_what_their_command_makes(name, tmp_path, monkeypatch):
    """Each file in envoy/ is what the command in its first line makes today, and Envoy takes it."""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "envoy" / name).read_text()
    assert text == make(*asked(text.splitlines()[0])).text
    validated(text, tmp_path)


def test_there_is_an_example_for_each_use():
    """Beside the applications of a mesh, beside one application, and of the demo."""
    assert EXAMPLES == ["demo.yaml", "mesh.yaml", "sidecar.yaml"]


EXPR = "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
EVERYTHING = [
    {
        "name": "all of it",
        "match": {
            "regex": "/v[0-9]+/.*",
            "ignore_case": True,
            "ignore_trailing_slash": True,
            "methods": ["GET", "M-SEARCH"],
            "hosts": ["*.example.org", "example.*", "a.b"],
            "headers": [
                {"name": "x-a", "present": False},
                {"name": "x-b", "regex": "a.c", "invert": True},
                {"name": "x-c", "string_match": {"suffix": "x", "ignore_case": True}},
                {"name": "x-d", "exact": "", "treat_missing_header_as_empty": True},
                {"name": ":authority", "prefix": "a."},
            ],
        },
        "upstream": "two",
        "timeout": "90s",
        "rate_limits": [
            {
                "actions": [
                    {"generic_key": {"descriptor_value": "v"}},
                    {"request_headers": {"header_name": "host", "descriptor_key": "h", "skip_if_absent": True}},
                    {"masked_remote_address": {"v4_prefix_mask_len": 0, "v6_prefix_mask_len": 64}},
                    {"metadata": {"descriptor_key": "k", "metadata_key": {"key": "n", "path": [{"key": "p"}]}}},
                    {
                        "extension": {
                            "name": "expr",
                            "typed_config": {
                                "@type": EXPR,
                                "descriptor_key": "method",
                                "text": "request.method",
                            },
                        }
                    },
                ],
                "hits_addend": {"format": "%BYTES_RECEIVED%"},
                "apply_on_stream_done": True,
            },
            {"actions": [{"source_cluster": {}}], "limit": {"rate_limit": {"requests_per_unit": 0, "unit": "day"}}},
        ],
    },
    {
        "match": {"path": "/staged"},
        "upstream": "one",
        "rate_limits": [{"actions": [CALLER], "stage": 2, "disable_key": "k"}],
    },
    {
        "match": {"path": "/cors", "methods": ["PUT", "M-SEARCH"]},
        "upstream": "own",
        "cors": {
            "origins": ["*", "https://*.example.org", {"regex": "https://.*"}],
            "methods": ["*"],
            "max_age": "2h",
        },
    },
    {"match": {"prefix": "/c%2Fd"}, "upstream": "blind", "cors": {"origins": ["https://a"], "credentials": True}},
    {"upstream": "addresses"},
]


@pytest.mark.envoy
def test_envoy_takes_all_that_a_file_can_say(tmp_path):
    """TLS on both sides, several endpoints, trusted proxies, every kind of match, what only Envoy can do."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    file = write(
        tmp_path,
        *EVERYTHING,
        listen="[::1]:0",
        encoded_slash="keep",
        tls={"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")},
        trusted_proxies=["10.0.0.0/8", "fd00::/8"],
        upstreams={
            "one": {"url": "https://localhost:8443", "lifetime": "1h"},
            "two": {"endpoints": ["http://a:1", "http://b:2"], "balance": {"failures": 2}},
            "addresses": {"url": "https://127.0.0.1:8443"},
            "own": {"url": "https://localhost:8443", "ca": str(tmp_path / "cert.pem"), "host": "rewrite"},
            "blind": {"endpoints": ["https://a", "https://b:8443"], "verify": False, "host": "rewrite"},
            "ratelimitd": {"url": "http://[::1]:80"},
        },
    )
    said = validated(make(file, BootstrapOptions()).text, tmp_path)
    assert "deprecated" not in said.lower()


@pytest.mark.envoy
def test_envoy_takes_expressions_that_the_proxy_takes(tmp_path):
    """A long list of hosts, a long path without case, and a long expression, each above Envoy's default bound."""
    route = {
        "match": {
            "path": "/" + "long-path/" * 50,
            "ignore_trailing_slash": True,
            "hosts": [f"host-{number}.example.org" for number in range(200)],
            "headers": [{"name": "x-a", "regex": "(abc|def){100}"}],
        }
    }
    validated(make(write(tmp_path, route), BootstrapOptions()).text, tmp_path)


@pytest.mark.envoy
@pytest.mark.parametrize(
    ("listen", "address"),
    [
        (":0", {"address": "::", "port_value": 0, "ipv4_compat": True}),
        ("[::]:0", {"address": "::", "port_value": 0, "ipv4_compat": True}),
        ("0.0.0.0:0", {"address": "0.0.0.0", "port_value": 0}),
        ("127.0.0.1:0", {"address": "127.0.0.1", "port_value": 0}),
    ],
)
def test_envoy_listens_on_the_same_families(listen, address, tmp_path):
    """Every address is IPv4 and IPv6, 0.0.0.0 is IPv4 alone; that :: needs IPv6 is told."""
    made = make(write(tmp_path, listen=listen), BootstrapOptions())
    validated(made.text, tmp_path)
    (listener,) = yaml.safe_load(made.text)["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == address
    told = [gap for gap in made.gaps if gap.startswith("listen: ")]
    assert len(told) == (address["address"] == "::")


METADATA = {"descriptor_key": "k", "metadata_key": {"key": "n", "path": [{"key": "p"}]}}
ENVOY_ONLY = [
    ("actions", [{"dynamic_metadata": METADATA}]),
    ("actions", [{"metadata": METADATA}]),
    ("actions", [{"extension": {"name": "expr", "typed_config": {"@type": EXPR, "text": "request.method"}}}]),
    ("actions", [{"remote_address_match": {"descriptor_value": "v", "address_matcher": {}}}]),
    ("hits_addend", {"format": "%BYTES_RECEIVED%"}),
    ("limit", {"dynamic_metadata": {"metadata_key": {"key": "n", "path": [{"key": "p"}]}}}),
    ("stage", 2),
    ("disable_key", "k"),
    ("apply_on_stream_done", True),
    ("x_ratelimit_option", "OFF"),
]


@pytest.mark.parametrize(("key", "value"), ENVOY_ONLY)
def test_what_only_envoy_can_do_is_in_its_bootstrap(key, value, tmp_path):
    """A key that the proxy does not take reaches the route of the bootstrap as it was written."""
    file = write(tmp_path, {"rate_limits": [{"actions": [CALLER], key: value}]})
    (host,) = manager(make(file, BootstrapOptions()).text)["route_config"]["virtual_hosts"]
    (route,) = host["routes"]
    limits = route["route"].get("rate_limits") or next(iter(route["typed_per_filter_config"].values()))["rate_limits"]
    assert value == limits[0][key]


def test_a_routes_timeout_bounds_each_attempt_of_its_bootstrap(tmp_path):
    """Without one, the upstream's response_timeout does."""
    upstreams = {"app": {"url": "http://a", "response_timeout": "5s"}}
    file = write(tmp_path, {"match": {"path": "/a"}, "timeout": "2s"}, {}, upstreams=upstreams)
    (host,) = manager(make(file, BootstrapOptions()).text)["route_config"]["virtual_hosts"]
    assert [route["route"]["retry_policy"]["per_try_timeout"] for route in host["routes"]] == ["2s", "5s"]


def test_one_that_envoy_would_not_take_is_an_error(tmp_path):
    """A rate limit with what Envoy's types do not know is an error that names the file and the route."""
    wrong = {"actions": [{"metadata": {"descriptor_key": "k", "no_such_thing": 1}}]}
    file = write(tmp_path, {"name": "here", "rate_limits": [wrong]})
    with pytest.raises(CommandError, match=r"gateway\.yaml: .*route 'here'.*no_such_thing"):
        make(file, BootstrapOptions())


@pytest.mark.envoy
def test_numbers_that_envoy_has_no_room_for_are_its_largest(tmp_path):
    """Heads and connections beyond Envoy's own bounds become those bounds, and Envoy takes the bootstrap."""
    app = {"endpoints": ["http://127.0.0.1"] * 5_000, "max_connections": 1_000_000, "max_head": "9" * 4_000}
    file = write(tmp_path, upstreams={"app": app}, limits={"max_head": "9g"})
    validated(make(file, BootstrapOptions()).text, tmp_path)


@pytest.mark.parametrize("shape", [5, [], "x", {"typed_config": {"@type": "google.protobuf.Struct", "value": 5}}])
def test_an_action_of_another_shape_is_an_error(shape, tmp_path):
    """What Envoy's types cannot be made of, whatever it is, is an error that names the route."""
    file = write(tmp_path, {"name": "here", "rate_limits": [{"actions": [{"extension": shape}]}]})
    with pytest.raises(CommandError, match=r"gateway\.yaml: .*route 'here'"):
        make(file, BootstrapOptions())


@pytest.mark.parametrize(
    ("failures", "mode", "deny"),
    [
        (["error"], "", True),
        (["deny", "allow"], "", True),
        (["allow", "local"], "", False),
        (["error"], "allow", False),
        (["allow"], "deny", True),
    ],
)
def test_failure_mode_deny_follows_the_limits(failures, mode, deny, tmp_path):
    """Requests are denied without the service when a limit says error or deny, unless the command says otherwise."""
    limits = [{**LIMIT, "value": f"{number}", "on_store_failure": each} for number, each in enumerate(failures)]
    made = make(write(tmp_path, rules=limits), BootstrapOptions(failure_mode=mode))
    assert limiter(made.text).get("failure_mode_deny", False) == deny
    assert any("on_store_failure" in line for line in made.gaps) == ("deny" in failures and "allow" in failures)


def test_what_the_command_says_is_in_the_bootstrap(tmp_path):
    """Service, admin port and timeout are where Envoy looks for them, and in the command at the top."""
    file = write(tmp_path)
    text = make(file, BootstrapOptions(rls=("rls.example", 18081), admin=15000, timeout=0.5, failure_mode="allow")).text
    flags = "--rls rls.example:18081 --admin 15000 --timeout 0.5s --failure-mode allow"
    assert text.splitlines()[0] == f"# ratelimitd envoy {file} {flags}"
    built = yaml.safe_load(text)
    assert built["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 15000}
    service = built["static_resources"]["clusters"][-1]
    (endpoint,) = service["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "rls.example", "port_value": 18081}
    assert limiter(text)["timeout"] == "0.500s"


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        ({}, {"consecutive_local_origin_failure": 5, "enforcing_consecutive_gateway_failure": 0}),
        ({"failures": 2, "statuses": [504, 502, 503]}, {"enforcing_consecutive_gateway_failure": 100}),
        (False, None),
    ],
    ids=["default", "statuses", "false"],
)
def test_endpoints_are_ejected_as_the_proxy_does(tmp_path, balance, expected):
    """For missing responses; for statuses where the file lists them; with most of them ejected all are asked."""
    upstream = {"endpoints": ["http://a", "http://b"], "balance": balance}
    made = make(write(tmp_path, upstreams={"app": upstream}), BootstrapOptions())
    cluster = yaml.safe_load(made.text)["static_resources"]["clusters"][0]
    found = cluster.get("outlier_detection")
    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 50.0}}
    assert (found is None) is (expected is None)
    for key, value in (expected or {}).items():
        assert found[key] == value
    if found is not None:
        assert found["split_external_local_origin_errors"]
    assert "'statuses'" not in " ".join(made.gaps)


def test_a_breaker_that_the_file_turns_off_is_no_difference(tmp_path):
    """Envoy has none either."""
    made = make(write(tmp_path, upstreams={"app": {"url": "http://a", "breaker": False}}), BootstrapOptions())
    assert not [line for line in made.gaps if "upstream app: breaker" in line]


WORDS = [
    "n",
    "Y",
    "on",
    "1e3",
    "0x1f",
    "1_0",
    "~",
    "",
    " a ",
    "a: b",
    "#",
    "'",
    '"',
    "é",
    "a\nb",
    "x" * 200,
    "nan",
    "1:30",
]


@pytest.mark.envoy
def test_texts_are_texts_for_envoy(tmp_path):
    """What could be a number, a truth or nothing in some YAML is quoted, so Envoy takes it where it wants a text."""
    built = yaml.safe_load(make(write(tmp_path), BootstrapOptions()).text)
    from ratelimitd.gateway.envoy import as_yaml  # the types are imported by then, and their warnings unheard

    built["node"]["client_features"] = WORDS
    text = as_yaml(built, "test")
    assert yaml.safe_load(text)["node"]["client_features"] == WORDS
    validated(text, tmp_path)
