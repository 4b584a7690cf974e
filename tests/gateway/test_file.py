"""Gateway files: what they mean, and every error with its line."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.gateway.file import BALANCE, BREAKER, CONNECTIONS, LIMITS, domain_of, read_gateway
from ratelimitd.gateway.model import Admin, Backend, EnvoyOnly, Gateway, ListenerTls
from ratelimitd.http1.balance import BalanceOptions
from ratelimitd.http1.circuit_breaker import BreakerOptions
from ratelimitd.http1.options import ServerOptions, UpstreamOptions
from ratelimitd.policy import PolicyErrors
from ratelimitd.policy_file import parse

from .files import gateway, limits

HEAD = "upstreams: {app: {url: http://a}}\npolicies: {domain: d}\n"
ROUTE = HEAD + "routes:\n- "
LIMIT = ROUTE + "rate_limits:\n  - actions:\n    - "


def errors(text, **options):
    with pytest.raises(PolicyErrors) as caught:
        read_gateway("g.yaml", text.encode(), **options)
    return str(caught.value).splitlines()


def test_what_a_file_leaves_out_has_a_default():
    """Three keys are enough; without a match a route takes all, without an upstream the only one."""
    made = read_gateway("g.yaml", (HEAD + "routes: [{}]\n").encode())
    assert made.listen == ("", 8080)
    assert (made.routes[0].match.kind, made.routes[0].match.pattern, made.routes[0].upstream) == ("prefix", "/", "app")
    assert made.limits == ServerOptions()
    assert made.upstreams["app"].options == UpstreamOptions()
    assert (made.tls, made.admin, made.rate_limited_status) == (None, Admin(), 429)
    assert (made.trusted_proxies, made.domain, made.policies) == ((), b"", "")


def test_every_option_of_both_sides_can_be_written():
    """By its own name, so a new option of the wire is not forgotten here."""
    assert tuple(LIMITS) == ServerOptions._fields
    assert tuple(BREAKER) == BreakerOptions._fields
    assert tuple(BALANCE) == BalanceOptions._fields
    assert {*CONNECTIONS, "breaker", "balance"} == set(UpstreamOptions._fields)


@pytest.mark.parametrize("off", ["false", "off"])
def test_what_judges_an_upstream_can_be_turned_off(off):
    """``breaker: false`` and ``balance: false``; other values are those of a map."""
    text = f"upstreams: {{app: {{url: 'http://a', breaker: {off}, balance: {off}}}}}\n"
    made = read_gateway("g.yaml", (text + HEAD.partition("\n")[2] + "routes: [{}]\n").encode())
    assert (made.upstreams["app"].options.breaker, made.upstreams["app"].options.balance) == (None, None)


def test_statuses_that_are_failures_are_listed():
    """For breaker and balance alike."""
    lists = {"breaker": {"statuses": [502, 503]}, "balance": {"statuses": [500]}}
    options = gateway({}, upstreams={"app": {"url": "http://a", **lists}}).upstreams["app"].options
    assert (options.breaker.statuses, options.balance.statuses) == ({502, 503}, {500})


def test_a_file_says_all_of_it():
    """Durations, sizes and numbers, several endpoints, TLS, administration."""
    made = gateway(
        {"upstream": "b", "timeout": "1500ms", "name": "r", "match": {"path": "/x"}},
        listen="[::1]:8443",
        upstreams={
            "a": {"url": "https://a.example"},
            "b": {
                "endpoints": ["http://b1:81", "http://[::1]"],
                "connect_timeout": "1s",
                "breaker": {"error_rate": 0.2},
                "balance": {"eject_for": "5s"},
            },
        },
        limits={"max_body": "1MiB", "head_timeout": "5s", "max_headers": 50},
        trusted_proxies=["10.0.0.0/8", "::1", "::ffff:192.0.2.1"],
        tls={"cert": "c.pem", "key": "k.pem"},
        admin={"prefix": "/-/"},
        rate_limited_status=503,
        domain="d",
        name="edge",
        policies="policies",
    )
    assert made.listen == ("::1", 8443)
    assert [str(each) for each in made.upstreams["b"].endpoints] == ["b1:81", "[::1]:80"]
    assert made.upstreams["a"].endpoints[0].tls
    options = made.upstreams["b"].options
    assert (options.connect_timeout, options.breaker.error_rate, options.balance.eject_for) == (1.0, 0.2, 5.0)
    assert (made.limits.max_body, made.limits.head_timeout, made.limits.max_headers) == (1 << 20, 5.0, 50)
    assert made.trusted_proxies == ("10.0.0.0/8", "::1/128", "192.0.2.1/32")
    assert (made.tls, made.admin, made.rate_limited_status) == (ListenerTls("c.pem", "k.pem"), Admin("/-"), 503)
    assert (made.domain, made.name, made.policies) == (b"d", "edge", "policies")
    assert (made.routes[0].timeout, made.routes[0].name) == (1.5, "r")
    assert isinstance(made.upstreams["b"], Backend)
    assert pickle.loads(pickle.dumps(made)) == made


WRONG = [
    ("a: [", "not valid YAML", 1),
    ("- a", "a gateway file must be a map with listen, upstreams", 1),
    ("listen: ':1'", "a gateway file needs 'upstreams'", 1),
    ("", "the file is empty: `ratelimitd proxy --print-config` prints a gateway file", 1),
    (HEAD + "rotes: [{}]\n", "unknown key 'rotes': a gateway file has listen, upstreams, routes, policies, domain", 3),
    (HEAD + "rotes: [{}]\n", "; did you mean 'routes'? (line 3)", 3),
    (HEAD + "routes: [{}]\nrules: 1\n", "unknown key 'rules': a gateway file has listen, upstreams", 4),
    (HEAD + "routes: []\n", "'routes' of a gateway file must be a list that is not empty", 3),
    (HEAD + "routes: [{}]\nlisten: 8080\n", "'listen' of a gateway file must be host:port", 4),
    (HEAD + "routes: [{}]\nlimits: {max_body: 0}\n", "'max_body' of 'limits' must be a size above 0", 4),
    (HEAD + "routes: [{}]\nlimits: {head_timeout: never}\n", "must be a duration above 0", 4),
    (HEAD + "routes: [{}]\ntrusted_proxies: [10.0.0.1/8]\n", "without host bits", 4),
    (HEAD + "routes: [{}]\ntrusted_proxies: [proxy.internal]\n", "an address or a network", 4),
    (HEAD + "routes: [{}]\ntls: {cert: a}\n", "'tls' needs 'key'", 4),
    (HEAD + "routes: [{}]\ntls: {cert: a, key: ~}\n", "'tls' needs 'key'", 4),
    (HEAD + "routes: [{}]\nadmin: {prefix: /a, port: 1}\n", "'admin' has only one of prefix, port", 4),
    (HEAD + "routes: [{}]\nrate_limited_status: 200\n", "a whole number from 400 to 599", 4),
    ("upstreams: {}\npolicies: {}\nroutes: [{}]\n", "a map of at least one upstream", 1),
    ("upstreams: {a: {}}\npolicies: {}\nroutes: [{}]\n", "upstream 'a' needs 'url', or 'endpoints'", 1),
    ("upstreams: {a: {url: a}}\npolicies: {}\nroutes: [{}]\n", "a URL of scheme, host and port", 1),
    ("upstreams: {a: {url: http://u:p@a}}\npolicies: {}\nroutes: [{}]\n", "a URL of scheme, host and port", 1),
    ("upstreams: {a: {url: http://a/x}}\npolicies: {}\nroutes: [{}]\n", "requests keep their own path", 1),
    ("upstreams: {a: {url: http://a:99999}}\npolicies: {}\nroutes: [{}]\n", "a URL of scheme", 1),
    ("upstreams: {a: {url: http://a, endpoints: [http://b]}}\npolicies: {}\nroutes: [{}]\n", "only one of url, end", 1),
    ("upstreams: {a: {url: http://a}}\npolicies: []\nroutes: [{}]\n", "a policy, a list of policies, or the path", 2),
    (ROUTE + "upstream: other", "a route needs 'upstream': one of app", 4),
    (ROUTE + "timeout: 0s", "'timeout' of a route must be a duration above 0", 4),
    (ROUTE + "match: {prefix: /a, path: /b}", "'match' has only one of prefix, path, regex", 4),
    (ROUTE + "match: {prefix: api}", "a valid path (the path does not begin with a slash)", 4),
    (ROUTE + "match: {prefix: /a/../b}", "a normalized path: write /b", 4),
    (ROUTE + "match: {regex: '(?=a)'}", "an RE2 expression (invalid perl operator: (?=)", 4),
    (ROUTE + "match: {methods: [get]}", "a method in upper case", 4),
    (ROUTE + "match: {hosts: ['example.org:80']}", "a host without a port", 4),
    (ROUTE + "match: {hosts: ['.']}", "a host without a port", 4),
    (ROUTE + "match: {hosts: ['*.example.*']}", "a host without a port", 4),
    (ROUTE + "match: {hosts: ['a*b']}", "a host without a port", 4),
    (ROUTE + "match: {headers: [{name: host, regex: '\\Qa'}]}", "an RE2 expression that cannot be extended", 4),
    (ROUTE + "match: {headers: [{name: host, suffix: ':80'}]}", "needs a host without a port", 4),
    (ROUTE + "match: {headers: [{exact: a}]}", "a header to match needs 'name'", 4),
    (ROUTE + "match: {headers: [{name: a, exact: a, regex: b}]}", "a header to match has only one of", 4),
    (ROUTE + "match: {headers: [{name: 'a b'}]}", "a header name", 4),
    (ROUTE + "rate_limits: [{}]", "an item of 'rate_limits' needs 'actions'", 4),
    (ROUTE + "rate_limits: [{actions: ~}]", "an item of 'rate_limits' needs 'actions'", 4),
    (ROUTE + "rate_limits: [{actions: []}]", "'actions' of an item of 'rate_limits' must be a list that is not", 4),
    (HEAD + "routes: [{}]\nencoded_slash: yes please\n", "keep (%2F is allowed in paths", 4),
    (ROUTE + "match: {path: /a%2Fb}", "has %2F in its path, and such requests are rejected: write encoded_slash: k", 4),
    ("upstreams: {a: {url: http://a, host: 'a b'}}\npolicies: {}\nroutes: [{}]\n", "keep, rewrite (the host of its", 1),
    ("upstreams: {a: {url: http://a, ca: a.pem}}\npolicies: {}\nroutes: [{}]\n", "which apply to https only", 1),
    ("upstreams: {a: {url: http://a, verify: false}}\npolicies: {}\nroutes: [{}]\n", "which apply to https only", 1),
    ("upstreams: {a: {url: https://a, ca: b, verify: false}}\npolicies: {}\nroutes: [{}]\n", "remove one of them", 1),
    (ROUTE + "cors: {}", "'cors' needs 'origins'", 4),
    (ROUTE + "cors: {origins: []}", "'origins' of 'cors' must be a list that is not empty", 4),
    (ROUTE + "cors: {origins: ['*'], credentials: true}", "credentials: true and origin '*', by which any site", 4),
    (ROUTE + "cors: {origins: [https://a], credentials: true, headers: ['*']}", "do not take '*' as any name then", 4),
    (ROUTE + "cors: {origins: [https://a/]}", "write https://a ", 4),
    (ROUTE + "cors: {origins: [https://A.example]}", "write https://a.example ", 4),
    (ROUTE + "cors: {origins: [https://a:443]}", "without a default port: write https://a ", 4),
    (ROUTE + "cors: {origins: [a.example]}", "an origin as browsers send it, such as https://app.example.org", 4),
    (ROUTE + "cors: {origins: ['https://a*.example']}", "an origin as browsers send it", 4),
    (ROUTE + "cors: {origins: [{regex: '('}]}", "an RE2 expression", 4),
    (ROUTE + "cors: {origins: [https://a], methods: [get]}", "a method in upper case", 4),
    (ROUTE + "cors: {origins: [https://a], headers: [':path']}", "a header name", 4),
    (LIMIT + "remote_address", "a map with one action, such as {remote_address: {}}", 6),
    (LIMIT + "{remote_address: {}, source_cluster: {}}", "a map with one action", 6),
    (LIMIT + "remote_adress: {}", "unknown action 'remote_adress': must be one of generic_key, request_headers", 6),
    (LIMIT + "generic_key: {}", "'generic_key' needs 'descriptor_value'", 6),
    (LIMIT + "request_headers: {header_name: a}", "'request_headers' needs 'descriptor_key'", 6),
    (LIMIT + "request_headers: {header: a}", "unknown key 'header': 'request_headers' has header_name", 6),
    (LIMIT + "header_value_match: {descriptor_value: a, headers: [{name: b, exact: c}]}", "unknown key 'exact'", 6),
    (LIMIT + "header_value_match: {descriptor_value: a, headers: [{name: b, string_match: {}}]}", "needs one of", 6),
    (LIMIT + "masked_remote_address: {v4_prefix_mask_len: 33}", "a whole number from 0 to 32", 6),
    (LIMIT + "remote_address: {}\n    limit: {rate_limit: {requests_per_unit: 1, unit: WEEK}}", "one of SECOND", 7),
    (LIMIT + "remote_address: {}\n    hits_addend: 5", "'hits_addend' must be a map with number", 7),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "line"), WRONG)
def test_a_mistake_is_an_error_with_its_line_and_what_to_write(text, message, line):
    """In the file's own words."""
    said = errors(text)
    assert any(message in each and each.startswith("g.yaml: ") and f"(line {line})" in each for each in said), said


def test_every_mistake_is_told_at_once():
    """In the order of the file."""
    said = errors("listen: 1\nupstreams: {a: {url: b}}\nroutes: [{match: {methods: [get]}}]\npolicies: 1\nx: 1\n")
    assert [each.rpartition("(line ")[2] for each in said] == ["1)", "2)", "3)", "5)"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "domain: d\ndescriptors: []\n",
            "this is a policy, not a gateway file: serve it to Envoy with `ratelimitd serve`",
        ),
        ("domain: d\n", "this is a policy, not a gateway file"),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {}\n", "this is a Kubernetes manifest, not a gateway file"),
        ("# nothing\n", "the file is empty"),
    ],
)
def test_a_file_of_another_kind_is_one_error(text, words):
    """It says what the file is, and what to do with it; not a word of keys that it lacks."""
    (error,) = errors(text)
    assert error.startswith(f"g.yaml: {words}")


def test_a_misspelled_key_is_one_error():
    """The key that was meant is not told to be missing too."""
    said = errors("upstream: {a: {url: 'http://b'}}\nroutes: [{upstream: a}]\npolicies: p\n")
    assert [each.partition(": a gateway")[0] for each in said] == ["g.yaml: unknown key 'upstream'"]


ENVOY_ONLY = [
    (limits({"dynamic_metadata": {"descriptor_key": "a", "metadata_key": {"key": "k"}}}), "dynamic_metadata"),
    (limits({"metadata": {"descriptor_key": "a", "metadata_key": {"key": "k"}}}), "metadata"),
    (limits({"extension": {"name": "n", "typed_config": {"@type": "t"}}}), "extension"),
    (limits({"remote_address_match": {"descriptor_value": "v"}}), "remote_address_match"),
    (limits("remote_address", apply_on_stream_done=True), "apply_on_stream_done"),
    (limits("remote_address", disable_key="k"), "disable_key"),
    (limits("remote_address", x_ratelimit_option="OFF"), "x_ratelimit_option"),
    (limits("remote_address", stage=1), "stage"),
    (limits("remote_address", hits_addend={"format": "%BYTES_SENT%"}), "format"),
    (limits("remote_address", limit={"dynamic_metadata": {"metadata_key": {"key": "k"}}}), "dynamic_metadata"),
]


@pytest.mark.parametrize(("limit", "name"), ENVOY_ONLY)
def test_what_only_envoy_can_do_is_an_error_here_and_kept_for_envoy(limit, name):
    """The error says so; a file for Envoy keeps it as it was written."""
    with pytest.raises(PolicyErrors, match=f"'{name}' is supported only by Envoy"):
        gateway({"rate_limits": [limit]})
    (kept,) = gateway({"rate_limits": [limit]}, for_envoy=True).routes[0].rate_limits
    assert kept.envoy == limit
    if name in limit["actions"][0]:
        assert kept.actions == (EnvoyOnly(name),)


def test_a_rate_limit_is_kept_as_envoy_reads_it():
    """Texts stay texts, whatever they look like, and a unit has Envoy's capitals."""
    text = LIMIT + "generic_key: {descriptor_value: 010}\n    limit: {rate_limit: {requests_per_unit: 1, unit: hour}}\n"
    (limit,) = read_gateway("g", text.encode()).routes[0].rate_limits
    assert limit.envoy == {
        "actions": [{"generic_key": {"descriptor_value": "010"}}],
        "limit": {"rate_limit": {"requests_per_unit": 1, "unit": "HOUR"}},
    }


def test_the_domain_is_the_one_that_is_named_or_the_only_one():
    """Anything else is an error that lists what there is."""
    one, two = (parse([(str(n), f"domain: d{n}".encode()) for n in range(count)]) for count in (1, 2))
    assert domain_of(gateway(), one).name == b"d0"
    assert domain_of(gateway(domain="d1"), two).name == b"d1"
    for made, policy, said in (
        (gateway(), two, r"several domains \(d0, d1\); set 'domain'"),
        (gateway(domain="x"), two, r"'domain' is not defined by the policies \(d0, d1\)"),
        (gateway(), parse([]), "the policies define no domain"),
    ):
        with pytest.raises(PolicyErrors, match=said):
            domain_of(made, policy)


WORDS = st.sampled_from(
    (
        *("listen", "upstreams", "routes", "policies", "match", "prefix", "rate_limits", "actions", "remote_address"),
        *("request_headers", "header_name", "url", "limit", "hits_addend", "headers", "name", "regex", "a", "/a"),
        *("http://a", "1", "-1", "1.5", "true", "~", "10s", "*", "'", "\n", "  ", ": ", "- ", "[", "]", "{", "}", ","),
        *("#", "<<", "&a ", "*a", "("),
    )
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def _read_or_lines(content, for_envoy):
    try:
        made = read_gateway("g", content, for_envoy=for_envoy)
    except PolicyErrors as wrong:
        made = wrong.errors
    assert made
    assert isinstance(made, Gateway) or all(error.line >= 1 and error.file == "g" for error in made)


@given(st.lists(WORDS).map(lambda words: "".join(words).encode()) | st.binary(), st.booleans())
def test_any_text_is_a_gateway_or_errors_with_lines(content, for_envoy):
    """Nothing else is raised, whatever the bytes."""
    _read_or_lines(content, for_envoy)


KINDS = st.sampled_from(
    (
        *("generic_key", "request_headers", "header_value_match", "query_parameters", "masked_remote_address"),
        *("query_parameter_value_match", "remote_address", "extension"),
    )
)
RATE_LIMITS = st.fixed_dictionaries(
    {"actions": st.lists(VALUES | st.dictionaries(KINDS, VALUES, max_size=1))},
    optional={"limit": VALUES, "hits_addend": VALUES, "stage": VALUES},
)
ROUTES = st.fixed_dictionaries(
    {},
    optional={"match": VALUES, "timeout": VALUES, "upstream": VALUES, "rate_limits": st.lists(RATE_LIMITS)}
    | {"cors": VALUES | st.fixed_dictionaries({"origins": st.lists(VALUES)}, optional={"headers": VALUES})},
)
TREES = st.fixed_dictionaries(
    {},
    optional={
        "encoded_slash": VALUES,
        "upstreams": VALUES | st.just({"a": {"url": "http://a"}}),
        "routes": st.lists(ROUTES),
        **dict.fromkeys(("listen", "tls", "limits", "admin", "trusted_proxies", "policies"), VALUES),
    },
)


@pytest.mark.alone
@pytest.mark.slow
@given(TREES, st.booleans())
def test_any_tree_is_a_gateway_or_errors_with_lines(tree, for_envoy):
    """However the values are nested."""
    import yaml

    content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    _read_or_lines(content, for_envoy)
