"""Threads beside the event loop."""

import subprocess
import sys

import pytest

from ratelimitd.observe.loop import SWITCH

START = """
import sys
from ratelimitd.app.life import StartError, live
from ratelimitd.settings import load

async def start(stack):
    print(sys.getswitchinterval())
    raise StartError("seen")

live(load({}, {}), start)
"""


@pytest.mark.process
@pytest.mark.scenario("the event loop is blocked")
def test_threads_give_way_to_the_event_loop():
    """A thread keeps Python from the loop for a part of the longest permitted hold, not for all of it as by default."""
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout) == SWITCH <= 0.001
