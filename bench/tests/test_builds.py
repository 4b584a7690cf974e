"""What is measured as ours: before and after compilation, and through Envoy."""

import math
from pathlib import Path

import pytest

from bench import builds, envoy
from bench.builds import GRPCIO, INTERPRETED, PURE, SHIPPED
from bench.policy import user
from testkit.pasted import ROOT


@pytest.fixture
def here(monkeypatch):
    """Both transports are there."""
    monkeypatch.setattr(builds.server, "transports", lambda: (["nghttp2", "grpcio"], []))
    return monkeypatch


def test_interpreted_stands_beside_compiled(here):
    """Both run on the same transport; one setting is the difference."""
    here.setattr(builds, "compiled", lambda: True)
    found, notes = builds.builds()
    assert [(each.name, each.transport, dict(each.env)) for each in found] == [
        (SHIPPED, "nghttp2", {}), (INTERPRETED, "nghttp2", PURE), (GRPCIO, "grpcio", {}),
    ]  # fmt: skip
    assert notes == []


def test_where_nothing_is_compiled_no_row_says_so(here):
    """The sources are measured once, under their name, and a note tells why."""
    here.setattr(builds, "compiled", lambda: False)
    found, notes = builds.builds()
    assert [each.name for each in found] == [INTERPRETED, GRPCIO]
    assert len(notes) == 1
    assert "is not compiled here" in notes[0]


@pytest.mark.process
def test_the_build_is_the_one_that_a_service_here_imports():
    """It is found by a process with the environment of a service."""
    assert Path(builds._found("ratelimitd")).parent == ROOT / "ratelimitd"
    assert builds._found("ratelimitd.limiter.engine").endswith(".py") is not builds.compiled()
    assert (builds.compiled_bytes() > 1 << 16) is builds.compiled()


@pytest.mark.parametrize("scale", [envoy.Scale(), envoy.QUICK])
def test_requests_through_envoy_are_of_as_many_users_as_the_row_says(scale):
    """No user comes twice before each came once; paths hold the names that the policy counts by."""
    assert math.gcd(envoy.STEP, scale.users) == 1
    script = envoy.USERS % (scale.users, envoy.STEP)
    assert f"last = 0, {scale.users}\n" in script
    assert '"/u%06d"' in script
    assert f"/{user(7)}" == "/u%06d" % 7  # noqa: UP031 -- Lua's format
    assert envoy.Scale().users == 100_000
