"""Which version this tree is upgraded from."""

import os
import subprocess

import pytest

from tests.upgrade.versions import NoHistoryError, older

pytestmark = pytest.mark.process


@pytest.fixture
def repository(tmp_path):
    """Return a function that runs git in a new repository."""
    root = tmp_path / "repository"
    root.mkdir()
    own = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(*arguments):
        env = {**os.environ, **own, **names}
        done = subprocess.run(["git", *arguments], cwd=root, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "-q")
    run.root = root
    return run


def commit(repository, *tags):
    """Make a commit with these tags; return its hash."""
    repository("commit", "-q", "--allow-empty", "-m", "a change")
    for tag in tags:
        repository("tag", tag)
    return repository("rev-parse", "HEAD")


def test_the_last_tag_of_a_version_is(repository):
    """Other tags are no versions, and a release is compared with the one before it."""
    commit(repository, "v0.9.0")
    commit(repository, "demo")
    assert older(repository.root) == "v0.9.0"
    commit(repository, "v0.10.0")
    assert older(repository.root) == "v0.9.0"
    commit(repository)
    assert older(repository.root) == "v0.10.0"


def test_the_first_release_is_compared_with_the_named_commit(repository):
    """And not with itself, which every version passes."""
    first = commit(repository)
    commit(repository, "v0.9.0")
    assert older(repository.root, first) == first


def test_without_a_tag_it_is_the_named_commit(repository):
    """One that the repository lacks is an error, unless the clone is shallow."""
    first = commit(repository)
    commit(repository)
    assert older(repository.root, first) == first
    with pytest.raises(AssertionError, match="name another as BASELINE"):
        older(repository.root, "0" * 40)


def test_a_tree_without_history_has_none(repository, tmp_path):
    """A shallow clone, and an sdist; the message says what to do."""
    first = commit(repository)
    commit(repository)
    repository("clone", "-q", "--depth=1", f"file://{repository.root}", str(tmp_path / "shallow"))
    with pytest.raises(NoHistoryError, match="run: git fetch --unshallow --tags"):
        older(tmp_path / "shallow", first)
    (tmp_path / "sdist").mkdir()
    with pytest.raises(NoHistoryError, match="no clone"):
        older(tmp_path / "sdist")
