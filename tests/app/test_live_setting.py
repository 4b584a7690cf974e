"""LIVE_MAX_BYTES: whether the engine has a watcher, and the memory of the model."""

import pytest

from ratelimitd.app.engine import build
from ratelimitd.settings import load


@pytest.mark.parametrize(("written", "most"), [("1MiB", 1 << 20), ("100", 100)])
async def test_it_bounds_the_model(written, most):
    """The engine shows its charges to a model of this size."""
    parts = build(load({"LIVE_MAX_BYTES": written}, {}))
    assert parts.live is parts.engine.watcher
    assert parts.live.budget.most == most


async def test_zero_turns_it_off():
    """Nothing watches, so a charge costs a comparison with None."""
    parts = build(load({"LIVE_MAX_BYTES": "0"}, {}))
    assert parts.live is None
    assert parts.engine.watcher is None


async def test_hashes_are_those_of_the_identity_secret():
    """Replicas with the same IDENTITY_SECRET show the same hashes; without one each process has its own."""
    keys = [build(load(env, {})).live.key for env in ({"IDENTITY_SECRET": "s"}, {"IDENTITY_SECRET": "s"}, {}, {})]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
