"""The version that this tree is upgraded from: its commit, and its package in a folder."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from testkit.git import git

ROOT = Path(__file__).parents[2]

BASELINE = "91717715f05eb53c458d2d69b2cf097ae4164b8b"
"""Where no version has a tag: the last commit before queues and the renewal of places. It has every algorithm,
reservations and places, so each form of a key exists in both, and its script is another."""


class NoHistoryError(Exception):
    """This tree does not have the older version; the message says why."""


def older(root, baseline=BASELINE):
    """Return the last tag of a version before the commit of a tree, or the baseline. Raises NoHistoryError."""
    if not (root / ".git").exists():
        raise NoHistoryError("this tree is no clone of the repository, so it has no older version")
    if shutil.which("git") is None:
        raise NoHistoryError("git is not installed, so the older version cannot be read")
    found = last_tag(root) or baseline
    if has(root, found):
        return found
    if git(root, "rev-parse", "--is-shallow-repository") == "true":
        raise NoHistoryError(f"this clone is shallow and lacks {found}; run: git fetch --unshallow --tags")
    raise AssertionError(f"the repository has no commit {found}; name another as BASELINE")


def last_tag(root):
    """Return it, or an empty text. A release has a tag itself, and is compared with the one before it."""
    try:
        return git(root, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")
    except subprocess.CalledProcessError:
        return ""


def has(root, commit):
    """Whether the clone has this commit."""
    try:
        return bool(git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"))
    except subprocess.CalledProcessError:
        return False


def unpacked(root, commit, folder):
    """Write the package of that commit into a folder; it runs with this environment's libraries, interpreted."""
    packed = folder / "package.tar"
    git(root, "archive", "--output", str(packed), commit, "ratelimitd")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder


def printed(code, folder):
    """Return what the code prints with the package in that folder."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def script_of(folder):
    """Return the name in Redis of the script of the package in that folder."""
    return printed("from ratelimitd.stores.redis.script import composed_script; print(composed_script().sha)", folder)


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    """Return the folder with the package of the older version; skip where the history is missing."""
    try:
        commit = older(ROOT)
    except NoHistoryError as error:
        pytest.skip(str(error))
    return unpacked(ROOT, commit, tmp_path_factory.mktemp("old"))
