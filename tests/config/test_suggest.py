"""Suggestions for misspelled names."""

import pytest

from ratelimitd.config.suggest import did_you_mean, one_slip

NAMES = ("rate_limit", "rate_limits", "unlimited", "requests_per_unit", "unit")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ratelimit", "rate_limit"),
        ("rate_limt", "rate_limit"),
        ("rate_limitss", "rate_limits"),
        ("uint", "unit"),
        ("limit", ""),
        ("period", ""),
        ("", ""),
    ],
)
def test_only_a_similar_name_is_suggested(name, found):
    """A suggestion that is far away would mislead."""
    assert did_you_mean(name, NAMES) == (f"; did you mean '{found}'?" if found else "")


@pytest.mark.parametrize(
    "name", ["GRPC_PROT", "GRPC_POR", "GRPC_PORTT", "GRPCPORT", "GRPC-PORT", "XGRPC_PORT", "RGPC_PORT"]
)
def test_one_slip_of_a_finger_is_found(name):
    """A character too many, too few, another one, or two that changed places."""
    assert one_slip(name, "GRPC_PORT")
    assert one_slip("GRPC_PORT", name)


@pytest.mark.parametrize("name", ["GRPC_PORT", "GRPC_HOST", "GRPC_PROTX", "GRPC_TORP", "PORT", "", "GPRC_PROT"])
def test_other_names_are_no_slip(name):
    """Neither the name itself, nor one that is two slips away: it may be another program's."""
    assert not one_slip(name, "GRPC_PORT")
