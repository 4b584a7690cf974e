"""Pytest plugin: a test that starts a program carries the marker of that program.

The markers select tests (``-m "not redis"``), so a missing one would start a server in a run that excludes servers.
The plugin sees each start through the audit event of ``subprocess.Popen``. uvloop starts processes without that event:
a test that calls ``asyncio.create_subprocess_*`` runs on the standard event loop. A start inside a fixture of wider
scope counts for every test that uses the fixture.
"""

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final

import pytest

MARKERS: Final = {"redis-server": "redis", "redis-cli": "redis", "envoy": "envoy", "driver/node": "browser"}
"""Markers by the program's name, or its folder's and its name: Playwright's node drives Chromium. Any other program,
ratelimitd included, is ``process``."""

_started: set[str] = set()
"""Markers that the current test needs by what was started since its setup began."""

_shared: dict[tuple[str, str], set[str]] = {}
"""Markers by fixtures that outlive a test: (base of their node ids, name)."""


def marker_of(arguments: Sequence[str | bytes | os.PathLike[str]] | str | bytes) -> str:
    """Return the marker of a command line, which may begin with ``taskset -c CORE``."""
    words = [arguments] if isinstance(arguments, (str, bytes)) else arguments
    pinned = os.fsdecode(words[0]) == "taskset"
    program = PurePath(os.fsdecode(words[3 if pinned else 0]))
    return MARKERS.get(program.name) or MARKERS.get("/".join(program.parts[-2:]), "process")


def missing(needed: set[str], carried: set[str]) -> str:
    """Return the error of a test that needs these markers and carries those; empty if none is missing."""
    marks = ", ".join(f"@pytest.mark.{name}" for name in sorted(needed - carried))
    return f"starts a program without its marker: add {marks}" if marks else ""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        _started.add(marker_of(arguments[1]))


def pytest_configure() -> None:
    """Begin to see starts; an audit hook cannot be removed."""
    sys.addaudithook(_audit)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Forget the starts of the test before."""
    _started.clear()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: "pytest.FixtureDef[Any]") -> Generator[None, object, object]:
    """Remember the starts of a fixture that later tests use."""
    outer = _started.copy()
    _started.clear()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function" and _started:
            _shared[fixturedef.baseid, fixturedef.argname] = _started.copy()
        _started.update(outer)


@pytest.fixture(autouse=True)
def markers_of_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if it started a program, or uses a fixture that did, without the marker."""
    yield
    names = set(request.fixturenames)
    node = request.node
    needed = _started.union(
        *(needs for (base, name), needs in _shared.items() if name in names and node.nodeid.startswith(base))
    )
    error = missing(needed, {marker.name for marker in node.iter_markers()})
    if error:
        pytest.fail(f"{node.nodeid} {error}", pytrace=False)
