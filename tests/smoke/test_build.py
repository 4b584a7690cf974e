"""The compiled core and the extension: a wheel brings both and their library, an sdist where no compiler is neither."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = (".git", "ratelimitd/commit.txt")
"""One of them is in the tree that a release is built from: a clone, or its sdist."""


@pytest.mark.compiled
@pytest.mark.process
def test_it_is_compiled_and_its_extension_loads(installed):
    """An interpreted core or grpcio would serve as well, at a fraction of the rate."""
    assert "compiled" in installed.run("ratelimitd", "--version")
    loads = "import ratelimitd.transport as found; print(found.nghttp2_available())"
    assert installed.python(loads) == "True"


@pytest.mark.compiled
@pytest.mark.process
def test_the_service_maps_the_library_of_the_wheel(installed):
    """A service of nghttp2 has one libnghttp2 in its memory, and it lies in ratelimitd.libs."""
    with installed.running("serve", TRANSPORT="nghttp2") as (process, _):
        maps = Path(f"/proc/{process.pid}/maps").read_text()
    (library,) = {line.split()[-1] for line in maps.splitlines() if "libnghttp2" in line}
    assert Path(library).parent.name == "ratelimitd.libs"
    assert Path(library).is_relative_to(installed.bin.parent)


@pytest.mark.process
@pytest.mark.skipif(not any((ROOT / each).exists() for each in RECORDS), reason="nothing names the commit")
def test_its_version_says_the_commit(installed):
    """An installation has no repository to ask: the build has to write it into the package."""
    assert re.search(r"^commit: +[0-9a-f]{40}(\+dirty)?$", installed.run("ratelimitd", "--version"), re.MULTILINE)


@pytest.mark.interpreted
@pytest.mark.process
def test_an_installation_without_a_compiler_says_so(installed):
    """Its version names what serves, and so does its log; TRANSPORT=nghttp2 says what to install."""
    version = installed.run("ratelimitd", "--version")
    assert "(interpreted: not built)" in version
    assert "transport: grpcio" in version
    with installed.running("serve") as (_, serving):
        assert serving["transport"] == "grpcio"
    assert "libnghttp2-dev" in installed.run("ratelimitd", "serve", TRANSPORT="nghttp2", code=1)
