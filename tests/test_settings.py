"""Settings: what each text means, and that every mistake ends the start with a way to mend it."""

import importlib
import re
from datetime import timedelta
from pathlib import Path

import pytest

from ratelimitd.config.values import boolean, duration, host_port, size
from ratelimitd.limiter.new_keys import SWEEP
from ratelimitd.settings import ROWS, RowStatus, Secret, Settings, SettingsError, load
from ratelimitd.settings.counting import ALGORITHMS
from ratelimitd.settings.docs import page

REFUSED = [row for row in ROWS if row.status is RowStatus.REFUSED]
UNREAD = [row for row in ROWS if row.status is RowStatus.UNREAD]


def problems(environ, flags=None):
    with pytest.raises(SettingsError) as caught:
        load(environ, flags or {})
    return {problem.name: str(problem) for problem in caught.value.problems}


def test_defaults_are_upstreams():
    """With nothing set, ports and meanings are envoyproxy/ratelimit's, /rlconfig is on loopback, nobody is warned."""
    settings = load({}, {})

    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert (settings.grpc_port, settings.debug_port, settings.prometheus_addr) == (8081, 6070, ("", 9090))
    assert (settings.debug_host, settings.http_json, settings.http_allowed_hosts) == ("localhost", True, frozenset())
    assert (settings.grpc_max_connection_age, settings.grpc_max_connection_age_grace) == (86_400, 3_600)
    assert (settings.runtime_root, settings.runtime_watch_root) == ("/srv/runtime_data/current", True)
    assert (settings.near_limit_ratio, settings.expiration_jitter_max_seconds) == (0.8, 300)
    assert (settings.graceful_shutdown_timeout, settings.drain_delay, settings.store_budget) == (15, 5, 0.015)
    assert settings.memory_max_bytes == 256 << 20
    assert settings.redis is None
    assert settings.warnings == ()


@pytest.mark.parametrize("names", ["*", ".example", "a b", "a:80", "http://a", "é", "a..b"])
def test_a_host_name_is_a_name(names):
    """Without a port, a scheme or a wildcard; several are separated by commas, and compared in lower case."""
    assert "is not a host name" in problems({"HTTP_ALLOWED_HOSTS": f"ok,{names}"})["HTTP_ALLOWED_HOSTS"]
    assert load({"HTTP_ALLOWED_HOSTS": " a.B_c-1, d,"}, {}).http_allowed_hosts == {"a.b_c-1", "d"}


def test_every_default_parses():
    """No row has a default its own parser refuses."""
    for row in ROWS:
        row.parse(row.default)


def test_names_are_unique():
    """No variable has two rows."""
    names = [row.name for row in ROWS]

    assert len(names) == len(set(names))


def test_algorithms_are_the_algorithms():
    """DEFAULT_ALGORITHM knows exactly the algorithms there are."""
    algorithms = importlib.import_module("ratelimitd.algorithms")

    assert set(ALGORITHMS) == set(algorithms.ALGORITHMS)


def test_a_flag_wins():
    """A flag wins over the variable of the same name."""
    assert load({"GRPC_PORT": "1"}, {"GRPC_PORT": "0"}).grpc_port == 0


def test_settings_are_frozen():
    """Nothing changes a setting after the start."""
    with pytest.raises(AttributeError):
        load({}, {}).port = 1  # type: ignore[misc]


def test_all_problems_at_once():
    """Every mistake is told at once, with the value and the flag or variable it came from."""
    found = problems({"PORT": "x", "SHADOW_MODE": "yes", "DRAIN_DELAY": ""}, {"GRPC_PORT": "70000"})

    assert found == {
        "PORT": 'PORT="x": not a whole number',
        "SHADOW_MODE": 'SHADOW_MODE="yes": not a bool; write true or false',
        "DRAIN_DELAY": 'DRAIN_DELAY="": set but empty: '
        "not a duration; write one like 150us, 5s, 1h30m, or a number of seconds; or unset it",
        "--grpc-port": '--grpc-port="70000": must be from 0 to 65535',
    }


@pytest.mark.parametrize("name", ["PORT", "SHADOW_MODE", "DRAIN_DELAY", "MEMORY_MAX_BYTES", "NEAR_LIMIT_RATIO"])
def test_empty_but_set(name):
    """An empty number, bool, duration or size is an error, as it is upstream."""
    assert "set but empty" in problems({name: ""})[name]


@pytest.mark.parametrize("value", ["1", "t", "T", "TRUE", "true", "True"])
def test_true(value):
    """Every form of true that Go's strconv.ParseBool takes is taken."""
    assert boolean(value) is True


@pytest.mark.parametrize("value", ["yes", "on", "tRUE", "", " true"])
def test_not_a_bool(value):
    """What Go does not take as a bool is refused."""
    with pytest.raises(ValueError, match="not a bool"):
        boolean(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("150us", 150e-6),
        ("150µs", 150e-6),
        ("1h30m", 5400),
        ("24h", 86_400),
        ("1.5s", 1.5),
        ("15ms", 0.015),
        ("5", 5),
        ("0.5", 0.5),
        ("0", 0),
        ("0s", 0),
        ("1m0.5s", 60.5),
    ],
)
def test_durations(value, seconds):
    """Go durations and plain seconds are both read."""
    assert duration(value) == seconds


@pytest.mark.parametrize("value", ["", "s", "5 s", "-5s", "5d", "1e3", "5s5", "٣s"])
def test_not_a_duration(value):
    """Anything else is no duration."""
    with pytest.raises(ValueError, match="not a duration"):
        duration(value)


@pytest.mark.parametrize("value", ["9223372037", "9" * 400, "2562048h"])
def test_a_duration_ends_where_gos_does(value):
    """More than 292 years is refused: a clock, a timer and Envoy would each fail of it in a way of its own."""
    assert duration("9223372036s") == 9_223_372_036
    with pytest.raises(ValueError, match="longer than 9223372036 seconds"):
        duration(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [("1048576", 1 << 20), ("256MiB", 256 << 20), ("256m", 256 << 20), ("1g", 1 << 30), ("4kb", 4096), ("7B", 7)],
)
def test_sizes(value, number):
    """Sizes are bytes, or have a unit that counts by 1024."""
    assert size(0)(value) == number


@pytest.mark.parametrize("value", ["", "m", "-1", "1.5m", "1 t", "1mm"])
def test_not_a_size(value):
    """Anything else is no size."""
    with pytest.raises(ValueError, match="not a size"):
        size(0)(value)


@pytest.mark.parametrize(
    ("value", "address"),
    [(":9090", ("0.0.0.0", 9090)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::]:9090", ("::", 9090))],
)
def test_host_port(value, address):
    """An address takes Go's forms; without a host it is every IPv4 interface."""
    assert host_port(value) == address


@pytest.mark.parametrize(
    ("value", "address"),
    [(":19001", ("", 19001)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::]:9090", ("::", 9090))],
)
def test_prometheus_addr(value, address):
    """PROMETHEUS_ADDR without a host is every interface of both families, as Go listens and Envoy Gateway sets it."""
    assert load({"PROMETHEUS_ADDR": value}, {}).prometheus_addr == address


@pytest.mark.parametrize("value", ["9090", "::9090", "host:", "host:99999", "a b:1"])
def test_not_host_port(value):
    """What could be read in two ways is refused."""
    with pytest.raises(ValueError, match=r"not|must"):
        host_port(value)


def test_ipv6_host():
    """HOST takes an IPv6 address, bare or in brackets."""
    assert load({"HOST": "::", "GRPC_HOST": "[::1]"}, {}).host == "::"
    assert load({"GRPC_HOST": "[::1]"}, {}).grpc_host == "::1"


@pytest.mark.parametrize(
    ("environ", "name", "why"),
    [
        ({"REDIS_URL": "a:1", "REDIS_ADDR": "b:1"}, "REDIS_ADDR", "a different address"),
        ({"REDIS_URL": ""}, "REDIS_URL", "set but empty"),
        ({"REDIS_POOL_SIZE": "3"}, "REDIS_POOL_SIZE", "neither REDIS_URL nor REDIS_ADDR"),
        ({"REDIS_PERSECOND_URL": "h:1"}, "REDIS_PERSECOND_URL", "neither REDIS_URL nor REDIS_ADDR"),
        ({"REDIS_TLS": "false"}, "REDIS_TLS", "neither REDIS_URL nor REDIS_ADDR"),
        ({"REDIS_ULR": "h:1"}, "REDIS_ULR", "did you mean REDIS_URL?"),
        ({"REDIS_HOST": "h"}, "REDIS_HOST", "unknown variable"),
        ({"REDIS_PORT": "6379"}, "REDIS_PORT", "unknown variable"),
        ({"BACKEND_TYPE": "redis"}, "BACKEND_TYPE", "REDIS_URL is required"),
        ({"BACKEND_TYPE": "memory", "REDIS_URL": "h:1"}, "BACKEND_TYPE", "unset one of them"),
        ({"BACKEND_TYPE": "memcache"}, "BACKEND_TYPE", "not implemented yet"),
        ({"BACKEND_TYPE": "disk"}, "BACKEND_TYPE", "write nothing or memory or redis"),
        ({"CONFIG_TYPE": "CONSUL"}, "CONFIG_TYPE", "write FILE or GRPC_XDS_SOTW"),
        ({"REDIS_URL": "h:1", "REDIS_TYPE": "ring"}, "REDIS_TYPE", "single or sentinel or cluster"),
        ({"REDIS_URL": "a:1,b:1"}, "REDIS_URL", "a list of addresses requires"),
        ({"REDIS_URL": "a:1,,b:1", "REDIS_TYPE": "cluster"}, "REDIS_URL", "between two commas"),
        ({"REDIS_URL": "mymaster", "REDIS_TYPE": "sentinel"}, "REDIS_URL", "then the Sentinels"),
        ({"REDIS_URL": "redis://a:1,b:1", "REDIS_TYPE": "sentinel"}, "REDIS_URL", "then the Sentinels"),
        ({"REDIS_URL": "redis://a:1/2", "REDIS_TYPE": "cluster"}, "REDIS_URL", "without a database"),
        ({"REDIS_URL": "/s", "REDIS_TYPE": "cluster"}, "REDIS_URL", "without a database"),
        ({"REDIS_URL": "m,redis://u:p@a:1", "REDIS_TYPE": "sentinel"}, "REDIS_URL", "REDIS_SENTINEL_AUTH"),
        ({"REDIS_URL": "/s", "REDIS_TLS": "true"}, "REDIS_URL", "TLS is not supported on a unix socket"),
        ({"REDIS_URL": "redis://u@h:1"}, "REDIS_URL", "a user requires a password"),
        ({"REDIS_URL": "h:1", "REDIS_PERSECOND": "true"}, "REDIS_PERSECOND", "REDIS_PERSECOND_URL is required"),
        ({"REDIS_URL": "h:1", "REDIS_AUTH": "a", "REDIS_AUTH_FILE": "/f"}, "REDIS_AUTH_FILE", "keep one of the two"),
        ({"REDIS_URL": "h:1", "REDIS_TLS_CACERT": "/f"}, "REDIS_TLS_CACERT", "plain text"),
        (
            {"REDIS_URL": "rediss://h:1", "REDIS_TLS_CLIENT_KEY": "/f"},
            "REDIS_TLS_CLIENT_KEY",
            "TLS_CLIENT_CERT is required",
        ),
        (
            {"REDIS_URL": "redis://u:p@a:1,redis://u:q@b:1", "REDIS_TYPE": "cluster"},
            "REDIS_URL",
            "different credentials",
        ),
        ({"REDIS_URL": "h:1", "REDIS_SOCKET_TYPE": "unix"}, "REDIS_SOCKET_TYPE", "the address is tcp"),
        ({"REDIS_URL": "/s", "REDIS_SOCKET_TYPE": "tcp"}, "REDIS_SOCKET_TYPE", "the address is unix"),
        ({"REDIS_URL": "redis://:a@h", "REDIS_AUTH": "b"}, "REDIS_AUTH", "different credentials"),
        ({"LIMIT_RESET_HEADER": "a b"}, "LIMIT_RESET_HEADER", "not a header name"),
        ({"PROMETHEUS_PATH": "metrics"}, "PROMETHEUS_PATH", "write one like /metrics"),
    ],
)
def test_conflicts(environ, name, why):
    """What contradicts itself, or would count elsewhere than meant, is one clear error."""
    found = problems(environ)

    assert list(found) == [name]
    assert why in found[name]


@pytest.mark.parametrize("name", [row.name for row in REFUSED])
def test_refused(name):
    """What decides trust, policy or counters and is not built ends the start; false, empty or the default does not."""
    row = next(row for row in REFUSED if row.name == name)
    base = {"REDIS_URL": "h:1"}

    assert "not implemented yet" in problems({**base, name: "true" if row.default == "false" else "canary"})[name]
    load({**base, name: row.default}, {})


def test_unread_in_one_warning():
    """All that nobody reads is named in one warning, without its value."""
    (warning,) = load(
        {"GRPC_SERVER_TLS_CA_CERT": "x", "MEMCACHE_TLS_CACERT": "canary", "GOSTATS_LOGGING_SINK_DISABLED": "canary"}, {}
    ).warnings

    assert "GOSTATS_LOGGING_SINK_DISABLED, GRPC_SERVER_TLS_CA_CERT, MEMCACHE_TLS_CACERT" in warning
    assert "canary" not in warning


@pytest.mark.parametrize("name", [row.name for row in UNREAD])
def test_unread(name):
    """Each is named when set, and not when it says what holds anyway."""
    row = next(row for row in UNREAD if row.name == name)
    base = {"REDIS_URL": "h:1"}

    assert name in load({**base, name: "something"}, {}).warnings[0]
    assert load({**base, name: row.default}, {}).warnings == ()


def test_kubernetes_service_links():
    """The variables Kubernetes makes for Services named redis and redis-master are nobody's mistake."""
    links = {
        "REDIS_SERVICE_HOST": "10.0.0.1",
        "REDIS_SERVICE_PORT": "6379",
        "REDIS_SERVICE_PORT_REDIS": "6379",
        "REDIS_PORT": "tcp://10.0.0.1:6379",
        "REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379",
        "REDIS_PORT_6379_TCP_ADDR": "10.0.0.1",
        "REDIS_MASTER_SERVICE_HOST": "10.0.0.1",
    }

    assert load(links, {}).redis is None


def test_secrets_stay_out_of_errors():
    """A password in a wrong value is masked in the error."""
    found = problems(
        {
            "REDIS_URL": "redis://user:canary@h:port",
            "REDIS_ADDR": "u:canary@h:1",
            "REDIS_AUTH": "canary",
            "REDIS_SENTINEL_AUTH": "canary",
        }
    )

    assert found["REDIS_URL"].startswith('REDIS_URL="***@h:port"')
    assert "canary" not in str(found)


def test_secrets_stay_out_of_repr():
    """Neither the settings nor an address show a password when printed."""
    settings = load({"REDIS_URL": "redis://user:canary@h:1"}, {})

    assert "canary" not in f"{settings!r} {settings} {settings.redis!r} {settings.redis}"


def test_a_strangers_value_is_masked():
    """The value of a REDIS_* name nobody knows is not shown: it may be a password."""
    assert "canary" not in problems({"REDIS_PASSWORD": "canary"})["REDIS_PASSWORD"]


def test_secret_rows():
    """Every variable that may hold a password is marked so."""
    named = {
        row.name for row in ROWS if any(word in row.name for word in ("AUTH", "REDIS_URL", "REDIS_ADDR", "PASSWORD"))
    }

    assert all(row.secret is not Secret.NO for row in ROWS if row.name in named and not row.name.endswith("_FILE"))


def test_every_contract_variable_has_a_row():
    """A sample of every group envoyproxy/ratelimit reads is in the table."""
    names = {row.name for row in ROWS}

    assert names >= {
        "GRPC_UDS",
        "GRPC_CLIENT_TLS_SAN",
        "CONFIG_GRPC_XDS_NODE_ID",
        "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES",
        "EXTRA_TAGS",
        "REDIS_STARTUP_MAX_ELAPSED_TIME",
        "REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM",
        "MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION",
        "TRACING_SAMPLING_RATE",
        "USE_CALENDAR_MONTH_RATE_LIMIT",
    }


def test_docs_are_current():
    """docs/settings.md is what the table writes: python -m ratelimitd.settings > docs/settings.md."""
    assert Path(__file__).parents[1].joinpath("docs/settings.md").read_text() == page()


def test_docs_name_the_values_that_end_the_start():
    """docs/settings.md names each value that a supported variable refuses as not implemented, and no other value."""
    (intro,) = re.findall(r"^These variables decide .*", page(), re.MULTILINE)
    (quoted,) = re.findall(r"The same applies to (.*)", intro)
    named = [tuple(text.split("=")) for text in re.findall(r"`(.*?)`", quoted)]

    assert named == [("BACKEND_TYPE", "memcache")]
    assert all("not implemented yet" in problems({"REDIS_URL": "h:1", name: value})[name] for name, value in named)


@pytest.mark.parametrize(("kind", "url"), [("sentinel", "m,h:1,h:2"), ("cluster", "h:1,h:2")])
def test_docs_do_not_refuse_what_works(kind, url):
    """A kind of Redis that the service starts with is not among the values that the page says end the start."""
    assert load({"REDIS_TYPE": kind, "REDIS_URL": url}, {}).redis_type == kind
    assert f"REDIS_TYPE={kind}" not in page()


def test_docs_say_how_long_new_keys_are_not_bounded():
    """NEW_KEYS_PER_SECOND binds once the table of keys was aged for the first time."""
    assert timedelta(microseconds=SWEEP) == timedelta(minutes=2)
    assert "waits two minutes" in Settings.new_keys_per_second.doc


def test_row_on_the_class():
    """The class gives the row, so that the rest of the program can name a variable without repeating it."""
    assert (Settings.grpc_port.name, Settings.grpc_port.flag) == ("GRPC_PORT", "--grpc-port")


def test_an_overlay_has_a_flag_of_its_own_and_is_required_by_its_path():
    """A service that requires an overlay and names none would never be ready."""
    assert load({"POLICY_OVERLAY": "a"}, {"POLICY_OVERLAY": "b"}).policy_overlay == "b"
    assert Settings.policy_overlay.flag == "--overlay"
    assert load({}, {}).policy_overlay_required is False
    assert "POLICY_OVERLAY is required too" in problems({"POLICY_OVERLAY_REQUIRED": "true"})["POLICY_OVERLAY_REQUIRED"]
