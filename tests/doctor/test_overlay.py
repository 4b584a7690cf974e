"""What doctor says of an overlay."""

import pytest

from ratelimitd.doctor import overlay, policy
from ratelimitd.doctor.finding import Level
from tests.doctor.doctoring import GOOD, case, looked


@pytest.fixture
def written(tmp_path):
    """Write a policy and an overlay; return their paths."""

    def write(text):
        (tmp_path / "policy.yaml").write_text(GOOD)
        if text:
            (tmp_path / "overlay.yaml").write_text(text)
        return str(tmp_path / "policy.yaml"), str(tmp_path / "overlay.yaml")

    return write


async def found(written, text):
    config, path = written(text)
    return await looked(overlay.check, case(config, POLICY_OVERLAY=path))


async def test_a_good_overlay(written):
    """Its path, and the number of its entries."""
    (well,) = await found(written, "overlay: [{domain: d, burst: 5}]")
    assert (well.level, well.found.endswith("overlay.yaml, entries: 1")) == (Level.OK, True)


@pytest.mark.parametrize(
    ("text", "change"), [("overlay: [{}]", "docs/overlay.md describes every key"), ("", "check the path")]
)
async def test_a_faulty_overlay_is_bad(written, text, change):
    """A pod that starts now has none."""
    (wrong,) = await found(written, text)
    assert (wrong.level, change in wrong.change) == (Level.BAD, True)


async def test_without_an_overlay_there_is_nothing_to_check(written):
    """Most services have none."""
    config, _ = written("")
    assert await looked(overlay.check, case(config)) == []


@pytest.mark.process
async def test_the_policy_is_checked_with_its_overlay(written):
    """What its entries are for is a finding of the policy."""
    config, path = written("overlay: [{domain: other, burst: 5}]")
    findings = await looked(policy.check, case(config, POLICY_OVERLAY=path))
    assert [each.level for each in findings] == [Level.OK, Level.WARN]
    assert "overlay-unmatched" in findings[1].found
