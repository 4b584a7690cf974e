"""The commit that a build records, and the places that show it."""

import re
import shutil
import tarfile
import tomllib
import zipfile
from types import SimpleNamespace

import pytest

from ratelimitd import __commit__
from ratelimitd.cli.version import EXTRAS, version_text
from ratelimitd.commit import RECORD, VARIABLE, of_tree, recorded, to_record
from ratelimitd.compiled import PURE
from testkit.git import git
from tests.test_builds import SETUP, run
from tests.test_compiled import PROJECT, ROOT

TABLE = """
[build-system]
requires = {requires}
[project]
name = "ratelimitd"
version = "1"
dynamic = ["readme"]
[tool.setuptools]
packages = ["ratelimitd"]
[[tool.ratelimitd.compiled]]
room = "."
modules = []
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path):
    """A repository of one commit."""
    (tmp_path / "a.txt").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


@pytest.mark.process
def test_a_repository_is_asked_and_a_change_is_told(repository):
    """A file that git does not know is one in the package, which it is built into, and none elsewhere."""
    head = git(repository, "rev-parse", "HEAD")
    (repository / "new.txt").write_text("")
    assert of_tree(repository) == to_record(repository, {}) == head
    (repository / "ratelimitd").mkdir()
    (repository / "ratelimitd" / "new.py").write_text("")
    assert of_tree(repository) == f"{head}+dirty"
    (repository / "ratelimitd" / "new.py").unlink()
    (repository / "a.txt").write_text("2")
    assert of_tree(repository) == f"{head}+dirty"


@pytest.mark.process
def test_another_repository_around_is_not_asked(repository):
    """An sdist that is unpacked in a project, or a virtual environment in it, is not of that project's commit."""
    inside = repository / "inside"
    inside.mkdir()
    assert of_tree(inside) == to_record(inside, {}) == ""
    (inside / ".git").mkdir()
    assert of_tree(inside) == ""


@pytest.mark.process
def test_a_hook_of_another_repository_changes_nothing(repository, tmp_path_factory, monkeypatch):
    """Git sets GIT_DIR for hooks, one of which may install this package."""
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    assert of_tree(tmp_path_factory.mktemp("other")) == ""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert of_tree(repository) != ""


@pytest.mark.process
def test_what_git_cannot_compare_is_not_called_clean(repository):
    """As with an index that is damaged."""
    head = git(repository, "rev-parse", "HEAD")
    (repository / ".git" / "index").write_text("damaged")
    assert of_tree(repository) == f"{head}+dirty"


@pytest.mark.process
def test_the_variable_goes_before_the_repository(repository):
    """As in a Dockerfile, which has no repository; a text that is no commit ends the build."""
    assert to_record(repository, {VARIABLE: COMMIT}) == COMMIT
    with pytest.raises(ValueError, match="RATELIMITD_COMMIT is not a commit: 'main'; write its hash"):
        to_record(repository, {VARIABLE: "main"})


def test_an_sdist_keeps_its_commit(tmp_path):
    """A wheel is built from it where no repository is."""
    package = tmp_path / "ratelimitd"
    package.mkdir()
    assert recorded(package) == ""
    (package / RECORD).write_text(f"{COMMIT}\n")
    assert to_record(tmp_path, {}) == recorded(package) == COMMIT


@pytest.mark.process
@pytest.mark.slow
def test_what_is_built_has_its_commit(tmp_path):
    """An sdist has the record, and so has a wheel that is built from it; an editable installation has none."""
    source = tmp_path / "source"
    (source / "ratelimitd").mkdir(parents=True)
    (source / "pyproject.toml").write_text(TABLE.format(requires=PROJECT["build-system"]["requires"]))
    for name in ("setup.py", "README.md", "ratelimitd/__init__.py", "ratelimitd/commit.py", "ratelimitd/compiled.py"):
        shutil.copy(ROOT / name, source / name)
    build(source, "sdist", **{VARIABLE: COMMIT})
    (sdist,) = source.glob("dist/*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    assert recorded(unpacked / "ratelimitd") == COMMIT
    build(unpacked, "bdist_wheel")
    build(source, "editable_wheel", **{VARIABLE: COMMIT})
    assert [in_wheel(each) for each in (unpacked, source)] == [f"{COMMIT}\n", None]
    assert not (source / "ratelimitd" / RECORD).exists()


def build(folder, command, **env):
    """Run setup.py there, without the extensions."""
    setup = SETUP.format(before="pass", argv=["-q", command])
    run(folder, setup, **{PURE: "1", **env})


def in_wheel(folder):
    """Return the record in the wheel that was built there, or None."""
    (wheel,) = folder.glob("dist/*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = [each for each in packed.namelist() if each.endswith(RECORD)]
        return packed.read(names[0]).decode() if names else None


@pytest.mark.process
def test_the_version_says_commit_transport_extras_and_python():
    """In a source tree git is asked; without a repository the commit is unknown."""
    commit = __commit__ or f"{of_tree(ROOT)}, a source tree"
    lines = version_text().splitlines()
    assert lines[1] == f"commit:    {commit if of_tree(ROOT) or __commit__ else 'unknown'}"
    assert re.fullmatch(r"transport: (nghttp2|grpcio) \d+\.\d+\.\d+\S*", lines[2])
    assert re.fullmatch(r"extras:    (none|\w+(, \w+)*)", lines[3])
    assert re.fullmatch(r"python:    3\.\d+\.\d+\S*", lines[4])
    assert len(lines) == 5


@pytest.mark.process
def test_an_extension_of_an_older_build_is_named(monkeypatch):
    """It serves, so the version does not say grpcio."""
    monkeypatch.setattr("ratelimitd.transport._nghttp2", SimpleNamespace(), raising=False)
    assert "transport: nghttp2 of an older build\n" in version_text()


def test_every_extra_can_be_told():
    """Those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"])
