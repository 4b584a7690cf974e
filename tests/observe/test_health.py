"""Components and the one state they come to."""

from ratelimitd.observe.health import Health


def test_without_components_all_is_well():
    """Only what was set counts."""
    health = Health()
    assert health.healthy
    assert health.failing() == []


def test_one_failing_component_is_enough():
    """Healthy means all of them, and the failing ones are named with their reasons, sorted."""
    health = Health()
    health.set("redis", False, "refused")
    health.set("config", False, "no policy")
    health.set("sigterm", True)
    assert health.failing() == [("config", "no policy"), ("redis", "refused")]
    health.set("config", True)
    assert not health.healthy
    health.set("redis", True)
    assert health.healthy


def test_a_component_that_must_have_been_healthy_once():
    """It fails until then, and never again."""
    health = Health()
    found = []
    for ok in (False, True, False):
        health.set_once("redis", ok, "not connected yet")
        found.append(health.failing())
    assert found == [[("redis", "not connected yet")], [], []]


def test_subscribers_hear_the_state_now_and_each_turn_once():
    """A second failing component is no second turn."""
    health = Health()
    heard: list[bool] = []
    health.subscribe(heard.append)
    health.set("redis", False)
    health.set("config", False)
    health.set("redis", True)
    health.set("config", True)
    assert heard == [True, False, True]
