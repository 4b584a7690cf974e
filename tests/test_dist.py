"""The release files: the contents of the sdist, the metadata, and an installation without a compiler."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

REPOSITORY = {".ci/run", ".editorconfig", ".gitignore"}
"""Files that serve only the repository."""

MADE = {"PKG-INFO", "setup.cfg"}
"""Files that setuptools adds, beside the folder of metadata."""


def tracked():
    """The files that git has; skips in an unpacked sdist."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return {each for each in listed.stdout.split("\0") if each and (ROOT / each).exists()}


@pytest.mark.process
@pytest.mark.slow
def test_the_sdist_has_what_git_has(tmp_path):
    """A build from it, and the tests in it, need all of that; what a build or a run left in the tree is not in it."""
    wanted = tracked()
    source = tmp_path / "source"
    for name in wanted:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in (
        "build/left.c",
        "ratelimitd/compiled.txt",
        "ratelimitd/left.so",
        "tests/__pycache__/left.pyc",
        ".venv/left.py",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("")
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    (made,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    found = {each for each in names if not each.startswith("ratelimitd.egg-info/")} - MADE
    assert found == wanted - REPOSITORY


def test_each_pattern_of_package_data_matches():
    """One that matches nothing is a file that was moved."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["ratelimitd"]
    assert [each for each in patterns if not [*(ROOT / "ratelimitd").glob(each)]] == []


@pytest.mark.process
def test_each_file_of_the_package_that_is_no_module_is_package_data():
    """Else it is in the sdist, and no wheel has it."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["ratelimitd"]
    brought = {each for pattern in patterns for each in (ROOT / "ratelimitd").glob(pattern)}
    files = [ROOT / each for each in tracked() if each.startswith("ratelimitd/") and not each.endswith(".py")]
    assert [each for each in files if each not in brought] == []


def test_wheels_are_built_for_the_pythons_that_the_metadata_names():
    """By cibuildwheel, and tests run on each of them in CI."""
    named = {each.rpartition(" ")[2] for each in PROJECT["project"]["classifiers"] if ":: 3." in each}
    built = {f"3.{each[3:5]}" for each in PROJECT["tool"]["cibuildwheel"]["build"]}
    assert named <= built
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert [each for each in built if f'"{each}"' not in workflow] == []


def test_the_smoke_tests_have_the_pytest_of_the_tests():
    """What runs the smoke tests is the pytest of the tests, here and in cibuildwheel."""
    pinned, tests = ({*(ROOT / f"requirements-{each}.txt").read_text().split()} for each in ("dist", "dev"))
    (pytest_,) = (each for each in pinned if each.startswith("pytest=="))
    assert pytest_ in tests
    assert PROJECT["tool"]["cibuildwheel"]["test-requires"] == [pytest_]


@pytest.mark.process
def test_no_compiler_is_found_where_there_shall_be_none(tmp_path):
    """By any name that a build tries; everything else of PATH is found, and exit codes pass."""
    for name in ("cc", "gcc", "gcc-12", "clang-14", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12", "c99", "sed"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    script = ROOT / "scripts" / "without-compiler"
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [script, "sh", "-c", "cd ${PATH%%:*} && ls; exit 3"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    found = {*done.stdout.split()}
    assert done.returncode == 3
    assert {"sed", "sh", "ls"} <= found
    assert [each for each in found if each in {"cc", "c99"} or "gcc" in each or "clang" in each] == []
