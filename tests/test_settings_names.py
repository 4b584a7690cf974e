"""Names and values of settings that are almost right: what is caught, and what is told."""

import pytest

from ratelimitd.settings import SettingsError, load


def problems(environ):
    with pytest.raises(SettingsError) as caught:
        load(environ, {})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REDIS_HOST", "REDIS_URL"),
        ("REDIS_PORT", "REDIS_URL"),
        ("REDIS_ADDRESS", "REDIS_URL"),
        ("REDIS_ULR", "REDIS_URL"),
        ("REDIS_ADR", "REDIS_ADDR"),
        ("REDIS_PERSECOND_ULR", "REDIS_PERSECOND_URL"),
    ],
)
def test_a_name_of_redis_that_is_almost_right_names_the_right_one(name, meant):
    """Other programs give the address of a Redis other names; all of them end the start."""
    (problem,) = problems({name: "redis"})
    assert f"unknown variable; did you mean {meant}?" in problem


def test_a_name_of_redis_that_is_like_none_suggests_none():
    """A far-fetched suggestion would mislead."""
    assert "did you mean" not in problems({"REDIS_XYZZY": "1"})[0]


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", ()),
        (" ", ()),
        ("10.0.0.1", ("10.0.0.1/32",)),
        ("10.0.0.0/8, fd00::/8", ("10.0.0.0/8", "fd00::/8")),
        ("::ffff:10.0.0.1,::ffff:10.0.0.0/104", ("10.0.0.1/32", "10.0.0.0/8")),
        ("::/0,::fffe:0:0/95", ("::/0", "::fffe:0:0/95")),
    ],
)
def test_trusted_peers(text, networks):
    """Addresses and networks of both families, separated by commas; IPv4 in the form of IPv6 is IPv4."""
    assert load({"TRUSTED_PEERS": text}, {}).trusted_peers == networks


@pytest.mark.parametrize("text", ["10.0.0.1/8", "lb.internal", "10.0.0.1,", ",", "10.0.0.1 10.0.0.2"])
def test_a_peer_is_an_address_or_a_network(text):
    """Anything else ends the start, with an example."""
    (problem,) = problems({"TRUSTED_PEERS": text})
    assert "write 10.0.0.0/8,::1" in problem


@pytest.mark.parametrize(
    ("name", "meant"),
    [("GRPC_PROT", "GRPC_PORT"), ("REPLICA", "REPLICAS"), ("LOGLEVEL", "LOG_LEVEL"), ("DEBUG_PORTS", "DEBUG_PORT")],
)
def test_one_slip_in_a_name_is_a_warning(name, meant):
    """It may be another program's variable, so the start goes on; the warning names both."""
    warning = f"{name} is no variable of ratelimitd and has no effect; did you mean {meant}?"
    assert load({name: "1"}, {}).warnings == (warning,)
    assert load({name: "1", meant: load({}, {}).log_level if meant == "LOG_LEVEL" else "1"}, {}).warnings == ()


@pytest.mark.parametrize("name", ["POST", "HOSTS", "GRPC_TRACE", "GRPC_VERBOSITY", "HOME", "LOG_DIR", "DEBUG"])
def test_names_of_other_programs_are_no_slips(name):
    """A short name is one slip away from many, and a longer one must be that near."""
    assert load({name: "1"}, {}).warnings == ()


@pytest.mark.parametrize(
    "value",
    [
        "ftp://a",
        "http://",
        "http://a/path",
        "http://a?x",
        "http://u@a",
        "http://a:0",
        "http://[::1",
    ],
)
def test_a_downstream_url_is_checked_as_a_setting(value):
    """The error names the variable and what to write, not a line of the built-in file."""
    (problem,) = problems({"DOWNSTREAM_URL": value})
    assert problem.startswith(f'DOWNSTREAM_URL="{value}": ')
    assert "a URL of scheme, host and port, such as http://localhost:8000" in problem


@pytest.mark.parametrize("value", ["http://localhost:8000", "https://app.example/", "http://[::1]:8000"])
def test_a_downstream_url_is_taken_as_written(value):
    """It stands in the built-in file as it was given."""
    assert load({"DOWNSTREAM_URL": value}, {}).downstream_url == value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("ratelimitd-peers", [("ratelimitd-peers", None)]),
        ("A.example:7, [::1]:8,[::2],10.0.0.1:9", [("a.example", 7), ("::1", 8), ("::2", None), ("10.0.0.1", 9)]),
    ],
)
def test_peers(text, names):
    """PEERS: names and addresses, each with or without a port."""
    assert [tuple(each) for each in load({"PEERS": text, "ADMIN_TOKEN": "0123456789abcdef"}, {}).peers] == names


@pytest.mark.parametrize(
    "text", ["::1", "a:", "a:0", "a:70000", ",", "[::1", "[a]:1", "http://a", "a b", "a:1:2", "[::1]:"]
)
def test_what_is_no_name_of_peers(text):
    """It says what to write."""
    with pytest.raises(SettingsError, match="PEERS="):
        load({"PEERS": text, "ADMIN_TOKEN": "0123456789abcdef"}, {})


@pytest.mark.parametrize("env", [{"PEERS": "a"}, {"PEER_ADDR": ":1"}])
def test_peers_need_the_token(env):
    """They ask one another with it; PEER_ADDR without a host is every interface."""
    with pytest.raises(SettingsError, match="set ADMIN_TOKEN or ADMIN_TOKEN_FILE"):
        load(env, {})
    assert load({**env, "ADMIN_TOKEN_FILE": "/run/token"}, {}).peer_addr == (("", 1) if "PEER_ADDR" in env else None)
