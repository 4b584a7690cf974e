"""Core dumps: a service leaves none, and its memory is not read by other processes of its user."""

import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="PR_GET_DUMPABLE is a request of Linux' kernel"),
]

START = """
import ctypes, resource, sys
from ratelimitd.app.life import StartError, live
from ratelimitd.settings import load

async def start(stack):
    print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    raise StartError("seen")

resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
live(load({}, dict(word.split("=") for word in sys.argv[1:])), start)
"""
"""The life of a process whose start looks at itself, where the shell allows core dumps; 3 is PR_GET_DUMPABLE."""


def seen(*settings):
    done = subprocess.run(
        [sys.executable, "-c", START, *settings], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_a_process_leaves_no_core_dump():
    """Neither a file, which the limit forbids, nor one through a pipe; and its user's processes cannot trace it."""
    _, limit, dumpable = seen()
    assert (limit, dumpable) == ("0", "0")


def test_core_dumps_can_be_allowed():
    """CORE_DUMPS=true changes nothing of what the shell allows."""
    allowed, limit, dumpable = seen("CORE_DUMPS=true")
    assert (limit, dumpable) == (allowed, "1")
