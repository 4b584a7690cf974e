"""What is in the image, and what is not."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.conftest import CHROOT

TREE = Path(__file__).parents[2]

PROGRAMS = {"sh", "bash", "dash", "busybox", "pip", "pip3", "apt", "apt-get", "dpkg", "perl", "gcc", "tar", "curl"}
"""Those that an attacker looks for first."""

BUILT_FROM = {".pyx", ".pxd", ".pxi", ".pyi", ".so"}
"""Sources of the extension, and what it was built to."""


@pytest.fixture(scope="module")
def found(root):
    """Each file and its status; links are not followed."""
    return {Path(folder) / name: (Path(folder) / name).lstat() for folder, _, names in os.walk(root) for name in names}


def test_there_is_no_shell_and_nothing_that_installs(found, root):
    """Not even as a module of Python."""
    assert {path for path in found if path.name in PROGRAMS} == set()
    assert [*root.glob("**/site-packages/pip"), *root.glob("**/ensurepip")] == []


def test_no_file_gives_rights(found):
    """No setuid, no setgid, no capability, and nothing that all may write."""
    special = stat.S_ISUID | stat.S_ISGID
    files = {path: status.st_mode for path, status in found.items() if stat.S_ISREG(status.st_mode)}
    assert [path for path, mode in files.items() if mode & (special | stat.S_IWOTH)] == []
    assert [path for path in files if "security.capability" in os.listxattr(path)] == []


def test_it_runs_as_a_user_that_owns_nothing(found, config):
    """Whatever the service is made to do, it cannot change itself."""
    assert config["config"]["User"] == "65534:65534"
    assert {status.st_uid for status in found.values()} == {0}


@pytest.mark.process
def test_every_file_of_the_package_is_there(root):
    """Data files as well: scripts of Redis, descriptors, and the pages of the live view."""
    (installed,) = root.glob("opt/ratelimitd/lib/python*/site-packages/ratelimitd")
    listing = ["git", "-c", "safe.directory=*", "ls-files", "ratelimitd"]
    listed = subprocess.run(listing, cwd=TREE, capture_output=True, text=True, check=True)
    names = {each.removeprefix("ratelimitd/") for each in listed.stdout.split() if Path(each).suffix not in BUILT_FROM}
    assert len(names) > 300
    assert {each for each in names if not (installed / each).is_file()} == set()


def test_all_bytecode_is_there_and_of_this_python(root):
    """The root can be read-only, and a start then compiles nothing."""
    folders = [*root.glob("opt/ratelimitd/lib/python*/site-packages/ratelimitd"), *root.glob("usr/lib/python3.13")]
    assert len(folders) == 2
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    missing = [path for path in sources if not (path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc").exists()]
    assert missing == []


@pytest.mark.process
def test_every_library_that_is_linked_is_there(found, root):
    """The Dockerfile names all packages; without one a module of Python fails when it is imported."""
    (loader,) = root.glob("usr/lib/*/ld-linux-*.so.*")
    inside = f"/{loader.relative_to(root)}"
    libraries = [path for path, status in found.items() if ".so" in path.suffixes and stat.S_ISREG(status.st_mode)]
    assert len(libraries) > 100
    said = {}
    for path in libraries:
        command = [CHROOT, root, inside, "--list", f"/{path.relative_to(root)}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={})
        if lacking := [line for line in (done.stdout + done.stderr).splitlines() if "not found" in line]:
            said[path.name] = lacking
    assert said == {}


def test_it_has_the_size_that_the_docs_say(found):
    """Unpacked, in MB of 1e6 bytes: within a tenth, as packages of the day and architectures differ."""
    size = sum({status.st_ino: status.st_size for status in found.values()}.values()) / 1e6
    (said,) = re.findall(r"It has\s+(\d+)\s+MB,\s+unpacked", (TREE / "docs" / "operations.md").read_text())
    print(f"{size:.0f} MB")
    assert abs(size - int(said)) < int(said) / 10


@pytest.mark.process
def test_its_bill_of_materials_has_all_packages(root, tmp_path):
    """Python's have a licence and hashes, Debian's a version."""
    output = tmp_path / "sbom.json"
    subprocess.run([sys.executable, TREE / "scripts" / "sbom.py", "--root", root, "--output", output], check=True)
    components = json.loads(output.read_text())["components"]
    debian = [each for each in components if each["purl"].startswith("pkg:deb/")]
    python = [each for each in components if each["purl"].startswith("pkg:pypi/")]
    installed = {path.name.partition("-")[0].lower() for path in root.glob("opt/**/*.dist-info")} - {"ratelimitd"}
    assert {each["name"].lower().replace("-", "_") for each in python} == installed
    assert all(each["licenses"] and each["hashes"] for each in python)
    assert len(debian) == len([*(root / "var/lib/dpkg/status.d").iterdir()])
    assert all(each["version"] for each in debian)
