"""What the distribution has brought into the environment."""

import json
import tomllib
from pathlib import Path, PurePosixPath

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

PLACES = """
import importlib.metadata, json, pathlib, ratelimitd
found = importlib.metadata.distribution("ratelimitd")
print(json.dumps([str(pathlib.Path(ratelimitd.__file__).parent), [str(each) for each in found.files]]))
"""


@pytest.fixture
def places(installed):
    """The folder of the package, and the files that RECORD lists."""
    package, files = json.loads(installed.python(PLACES))
    return Path(package), [PurePosixPath(each) for each in files]


@pytest.mark.process
def test_the_package_is_the_installed_one(installed, places):
    """What follows is said of the environment, and not of a source tree."""
    package, _ = places
    assert package.is_relative_to(installed.bin.parent)


@pytest.mark.process
def test_each_pattern_of_package_data_has_brought_a_file(places):
    """Typing, scripts of Redis, descriptors: a file that is missing is only missed by a request."""
    package, _ = places
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["ratelimitd"]
    assert [each for each in patterns if not [*package.glob(each)]] == []
    assert (package / "py.typed").exists()


@pytest.mark.process
def test_nothing_lies_outside_the_package(places):
    """The rest is the command, the metadata, the library that mypyc's modules share, and libnghttp2."""
    _, files = places
    own = ("ratelimitd", "ratelimitd.libs")
    assert {
        str(each)
        for each in files
        if each.parts[0] not in own
        and not each.match("ratelimitd-*.dist-info/**")
        and not each.parts[0].endswith(".dist-info")
        and not each.name.startswith("ratelimitd__mypyc.")
    } == {"../../../bin/ratelimitd"}


@pytest.mark.process
def test_the_licences_are_there(places):
    """That of ratelimitd, and that of the library which the wheel contains."""
    _, files = places
    assert {"LICENSE", "LICENSE.nghttp2"} <= {each.name for each in files if ".dist-info" in each.parts[0]}


@pytest.mark.process
def test_what_the_wheel_asks_for_suffices(installed):
    """No requirement is missing or of a version that another one refuses."""
    assert "No broken requirements" in installed.run("python", "-m", "pip", "check", PIP_DISABLE_PIP_VERSION_CHECK="1")
