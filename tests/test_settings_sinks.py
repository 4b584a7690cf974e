"""Settings of metrics: which sink they choose, and what is an error."""

import pytest

from ratelimitd.config.values import pairs, words
from ratelimitd.settings import Mogrifier, SettingsError, StatsSink, load

NONE, STATSD, DOG, PROMETHEUS = StatsSink.NONE, StatsSink.STATSD, StatsSink.DOG_STATSD, StatsSink.PROMETHEUS
LINK = "tcp://10.0.0.7:8125"
MORE_THAN_ONE = (
    "unable to use more than one stats sink at the same time. Set one of USE_DOG_STATSD, USE_STATSD, USE_PROMETHEUS"
)


def problems(environ):
    with pytest.raises(SettingsError) as caught:
        load(environ, {})
    return {problem.name: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("environ", "sink"),
    [
        ({}, NONE),
        ({"USE_STATSD": "true"}, STATSD),
        ({"USE_STATSD": "false", "STATSD_HOST": "h"}, NONE),
        ({"STATSD_HOST": "h"}, STATSD),
        ({"STATSD_PORT": "1"}, STATSD),
        ({"STATSD_PORT": LINK}, NONE),
        ({"STATSD_PROTOCOL": "udp"}, STATSD),
        ({"EXTRA_TAGS": "a:b"}, STATSD),
        ({"USE_DOG_STATSD": "false"}, STATSD),
        ({"STATS_FLUSH_INTERVAL": "5s"}, NONE),
        ({"USE_PROMETHEUS": "true"}, PROMETHEUS),
        ({"USE_PROMETHEUS": "true", "EXTRA_TAGS": "a:b"}, PROMETHEUS),
        ({"USE_PROMETHEUS": "false"}, NONE),
        ({"USE_STATSD": "false", "USE_DOG_STATSD": "true"}, DOG),
        ({"USE_STATSD": "false", "USE_DOG_STATSD": "true", "STATSD_HOST": "unix:///s", "STATSD_PORT": LINK}, DOG),
        ({"DISABLE_STATS": "true", "USE_STATSD": "true", "USE_PROMETHEUS": "true"}, NONE),
    ],
)
def test_the_settings_choose_one_sink(environ, sink):
    """USE_STATSD is true by default once statsd is named; a written USE_PROMETHEUS, or no stats at all, goes before."""
    assert load(environ, {}).sink is sink


@pytest.mark.parametrize(
    ("environ", "name", "hint"),
    [
        ({"USE_STATSD": "true", "USE_PROMETHEUS": "true"}, "USE_PROMETHEUS", ""),
        ({"USE_DOG_STATSD": "true", "USE_STATSD": "true"}, "USE_DOG_STATSD", ""),
        ({"USE_DOG_STATSD": "true"}, "USE_DOG_STATSD", "; USE_STATSD is true by default, so write USE_STATSD=false"),
        ({"USE_DOG_STATSD": "true", "USE_PROMETHEUS": "true"}, "USE_DOG_STATSD", ""),
    ],
)
def test_more_than_one_sink_is_upstreams_error(environ, name, hint):
    """In its words, and with what to write where its default is one of them."""
    assert problems(environ) == {name: MORE_THAN_ONE + hint}


def test_a_service_link_is_told_as_one():
    """STATSD_PORT that Kubernetes sets for a Service named statsd is an error where the port is used."""
    assert "a service link: Kubernetes sets it" in problems({"USE_STATSD": "true", "STATSD_PORT": LINK})["STATSD_PORT"]
    assert load({"STATSD_PORT": LINK, "USE_STATSD": "false"}, {}).sink is NONE


@pytest.mark.parametrize(
    ("environ", "name", "why"),
    [
        ({"STATSD_PORT": "0"}, "STATSD_PORT", "must be from 1 to 65535"),
        ({"STATSD_PROTOCOL": "unix"}, "STATSD_PROTOCOL", "write tcp or udp"),
        ({"STATSD_HOST": ""}, "STATSD_HOST", "not a host"),
        ({"STATSD_HOST": "unix:///s"}, "STATSD_HOST", "requires USE_DOG_STATSD=true"),
        ({"EXTRA_TAGS": "a"}, "EXTRA_TAGS", "'a' is no pair; write key:value,key2:value2"),
        ({"STATS_FLUSH_INTERVAL": "0s"}, "STATS_FLUSH_INTERVAL", "must be greater than 0"),
    ],
)
def test_a_wrong_address_is_an_error(environ, name, why):
    """Each says what to write instead."""
    found = problems(environ)
    assert list(found) == [name]
    assert why in found[name]


def test_maps_and_lists_are_gos():
    """As envconfig reads them; the last of equal keys applies, and a value may have colons."""
    assert pairs("a:b,c:d:e,a:f") == (("a", "f"), ("c", "d:e"))
    assert pairs("") == ()
    assert words("a, b") == ("a", "b")


def test_mogrifiers_are_read_by_their_names():
    """In capital letters, as upstream looks for them, in the order of the list."""
    environ = {
        "USE_DOG_STATSD_MOGRIFIERS": "limits,other",
        "DOG_STATSD_MOGRIFIER_LIMITS_PATTERN": "(a)",
        "DOG_STATSD_MOGRIFIER_LIMITS_NAME": "$1",
        "DOG_STATSD_MOGRIFIER_LIMITS_TAGS": "k:$1,l:x",
        "DOG_STATSD_MOGRIFIER_OTHER_PATTERN": "b",
        "DOG_STATSD_MOGRIFIER_OTHER_NAME": "c",
    }
    assert load(environ, {}).mogrifiers == (
        Mogrifier("limits", "(a)", "$1", (("k", "$1"), ("l", "x"))),
        Mogrifier("other", "b", "c", ()),
    )


@pytest.mark.parametrize(
    ("left_out", "value", "why"),
    [
        ("PATTERN", "", "no PATTERN specified for mogrifier a"),
        ("NAME", "", "no NAME specified for mogrifier a"),
        ("TAGS", "k", "'k' is no pair"),
        ("TAGS", "k:", "no key or no value of tag 'k' specified for mogrifier a"),
    ],
)
def test_an_incomplete_mogrifier_is_an_error(left_out, value, why):
    """It names the variable."""
    environ = {
        "USE_DOG_STATSD_MOGRIFIERS": "a",
        "DOG_STATSD_MOGRIFIER_A_PATTERN": "x",
        "DOG_STATSD_MOGRIFIER_A_NAME": "y",
    }
    found = problems({**environ, f"DOG_STATSD_MOGRIFIER_A_{left_out}": value})
    assert why in found[f"DOG_STATSD_MOGRIFIER_A_{left_out}"]
