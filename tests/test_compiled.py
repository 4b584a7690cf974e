"""The modules that mypyc compiles: built where they can be, imported only if they are of the sources as they are."""

import gc
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from ratelimitd import __build__
from ratelimitd.compiled import COMPILED, PURE, RECORD, SHARED, interpreted, record
from ratelimitd.settings import SettingsError, load
from ratelimitd.sources import loader
from testkit import builds
from tests.rls.conftest import Bench, Call, Request

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTED = [
    ".".join(("ratelimitd", *Path(room["room"]).parts, module))
    for room in PROJECT["tool"]["ratelimitd"]["compiled"]
    for module in room["modules"]
]
SUFFIX = EXTENSION_SUFFIXES[0]


@pytest.mark.parametrize("name", LISTED)
def test_what_is_listed_is_compiled(name):
    """Each module of the table is an extension in a run for the compiled modules, and never in another one."""
    suffix = SUFFIX if __build__ == COMPILED else ".py"
    assert importlib.import_module(name).__file__.endswith(suffix)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_class_has_listed_bases(name):
    """A compiled class with an interpreted base crashes the collector, and mypyc does not refuse it."""
    module = importlib.import_module(name)
    classes = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == name]
    bases = {base.__module__ for each in classes for base in each.__mro__ if base.__module__.startswith("ratelimitd.")}
    assert bases - {*LISTED} == set()


async def test_calls_leave_nothing_for_the_collector():
    """A compiled function and one that is defined in it refer to each other: each batch would leave a cycle."""
    made = Bench("domain: d\ndescriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 1}}]")
    body = Request(domain="d", descriptors=[{"entries": [{"key": "a"}]}]).SerializeToString()
    made.service.should_rate_limit([Call(body), Call(b"")])
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            made.service.should_rate_limit([Call(body), Call(b"")])
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_runs_for_the_compiled_modules_need_them(monkeypatch):
    """Where there is a compiler; without one they run interpreted."""
    assert builds.problem(COMPILED) == ""
    monkeypatch.setattr(builds.shutil, "which", lambda _: "/usr/bin/cc")
    assert builds.problem("interpreted: not built") == "the package is interpreted: not built: run `make setup`"
    monkeypatch.setattr(builds.shutil, "which", lambda _: None)
    assert builds.problem("interpreted: not built") == ""


@pytest.fixture
def package(tmp_path):
    """A package with one module that is compiled and one that it imports."""
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.py").write_text(f"# {name}\n")
    for path in (folder / f"a{SUFFIX}", tmp_path / f"some{SHARED}{SUFFIX}"):
        path.write_bytes(b"")
    (folder / RECORD).write_text(record(folder, ["a.py"], ["a.py", "b.py"]))
    return folder


def test_a_build_of_the_same_sources_is_used(package):
    """And a variable that says false, as settings read it, changes nothing."""
    assert interpreted(package, {}) == ""
    assert interpreted(package, {PURE: "false"}) == ""


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_stale_build_is_not_used(package, name):
    """A changed source has the sources imported, also one that is only imported by what was compiled."""
    (package / f"{name}.py").write_text("# other\n")
    assert interpreted(package, {}) == f"stale build, {name}.py changed"
    (package / f"{name}.py").unlink()
    assert interpreted(package, {}) == f"stale build, {name}.py changed"


def test_a_variable_has_the_sources_imported(package):
    """RATELIMITD_PURE, whatever was built."""
    assert interpreted(package, {PURE: "1"}) == PURE


def test_half_a_build_is_not_used(package):
    """Without the record or with half of it, without a module or what modules share, or of another Python."""
    (package / f"a{SUFFIX}").rename(package / "away")
    assert interpreted(package, {}) == "incomplete build"
    (package / "away").rename(package / f"a{SUFFIX}")
    (package.parent / f"some{SHARED}{SUFFIX}").unlink()
    assert interpreted(package, {}) == "incomplete build"
    file = package / RECORD
    text = file.read_text()
    file.write_text(text[: text.rindex(" ")])
    assert interpreted(package, {}) == "not built"
    file.write_text(text.replace(SUFFIX, ".cpython-39-x86_64-linux-gnu.so"))
    assert interpreted(package, {}) == "built for another Python"
    file.unlink()
    assert interpreted(package, {}) == "not built"


def test_the_variable_is_known_to_settings():
    """A slip of its name is named, and a value that is no bool ends the start."""
    assert "did you mean RATELIMITD_PURE?" in load({"RATELIMITD_PUR": "1"}, {}).warnings[0]
    with pytest.raises(SettingsError, match=PURE):
        load({PURE: "yes"}, {})


def test_the_parser_of_policies_runs_the_same_build():
    """The child process gets the variable."""
    assert loader._kept({PURE: "1", "ADMIN_TOKEN": "x"}) == {PURE: "1"}


def test_build_requirements_are_the_pinned_ones():
    """mypy and its stubs are exactly those of requirements-build.txt, with which the build is tested."""
    wanted = {each for each in PROJECT["build-system"]["requires"] if "==" in each}
    assert any(each.startswith("mypy==") for each in wanted)
    assert wanted - {*(ROOT / "requirements-build.txt").read_text().split()} == set()


TABLE = """
[build-system]
requires = {requires}
[tool.mypy]
{mypy}
[[tool.ratelimitd.compiled]]
room = "."
modules = ["tiny"]
"""

SETUP = "import sys, runpy; sys.modules['Cython'] = None; {before}; sys.argv[1:] = {argv}; runpy.run_path('setup.py')"
"""Runs setup.py without the transport, which has tests of its own."""


def built(folder, source, *, before="pass", mypy="", argv=("-q", "build_ext", "--inplace"), **env):
    """Build a package of one module in a folder; what was printed. The build must succeed whatever happens."""
    shutil.copy(ROOT / "setup.py", folder)
    (folder / "README.md").write_text("")
    requires = PROJECT["build-system"]["requires"]
    (folder / "pyproject.toml").write_text(TABLE.format(requires=requires, mypy=mypy))
    package = folder / "ratelimitd"
    package.mkdir()
    for name in ("__init__.py", "compiled.py"):
        shutil.copy(ROOT / "ratelimitd" / name, package)
    (package / "tiny.py").write_text(source)
    return run(folder, SETUP.format(before=before, argv=list(argv)), **env)


def run(folder, code, **env):
    """Run Python there."""
    env = {**{name: value for name, value in os.environ.items() if name != PURE}, "MYPYC_OPT_LEVEL": "0", **env}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


REPORT = "import ratelimitd, ratelimitd.tiny as tiny; print(ratelimitd.__build__, tiny.__file__, tiny.one(), sep='; ')"
SOURCE = "def one() -> int:\n    return 1\n"


@pytest.mark.process
@pytest.mark.slow
def test_what_was_built_is_imported_until_its_source_changes(tmp_path):
    """From then on the source is; the same with the variable, and a further build does nothing until it is stale."""
    built(tmp_path, SOURCE)
    assert re.fullmatch(rf"compiled; .*/tiny{re.escape(SUFFIX)}; 1\n", run(tmp_path, REPORT))
    assert re.fullmatch(r"interpreted: RATELIMITD_PURE; .*/tiny\.py; 1\n", run(tmp_path, REPORT, **{PURE: "1"}))

    (extension,) = tmp_path.glob(f"ratelimitd/tiny{SUFFIX}")
    before = extension.stat().st_mtime_ns
    again = SETUP.format(before="sys.modules['mypyc'] = None", argv=["-q", "build_ext", "--inplace"])
    assert "interpreted" not in run(tmp_path, again)
    assert extension.stat().st_mtime_ns == before

    (tmp_path / "ratelimitd" / "tiny.py").write_text(SOURCE.replace("1", "2"))
    assert re.fullmatch(r"interpreted: stale build, tiny\.py changed; .*/tiny\.py; 2\n", run(tmp_path, REPORT))


@pytest.mark.process
@pytest.mark.slow
def test_make_setup_compiles_what_is_new_in_the_table(tmp_path):
    """Also where the sources are as they were: nothing of the record has changed then."""
    built(tmp_path, SOURCE)
    (tmp_path / "ratelimitd" / "more.py").write_text(SOURCE)
    table = tmp_path / "pyproject.toml"
    table.write_text(table.read_text().replace('["tiny"]', '["tiny", "more"]'))
    (tmp_path / "Cython.py").write_text("")  # no transport
    (tmp_path / ".venv").symlink_to(sys.prefix)
    run(tmp_path, f"import subprocess; subprocess.run([{str(ROOT / 'scripts' / 'compile')!r}], check=True)")
    assert re.fullmatch(
        rf".*/more{re.escape(SUFFIX)}\n", run(tmp_path, "import ratelimitd.more as more; print(more.__file__)")
    )


@pytest.mark.process
@pytest.mark.slow
def test_a_build_that_fails_leaves_nothing_of_the_last_one(tmp_path):
    """Setuptools would copy the modules of that from build/lib, and they would have the record of the new sources."""
    built(tmp_path, SOURCE)
    (tmp_path / "ratelimitd" / "tiny.py").write_text(SOURCE.replace("1", "2"))
    again = SETUP.format(before="pass", argv=["-q", "build_ext", "--inplace"])
    assert "the compiler failed" in run(tmp_path, again, CC="/nowhere/cc")
    assert re.fullmatch(r"interpreted: not built; .*/tiny\.py; 2\n", run(tmp_path, REPORT))


@pytest.mark.process
@pytest.mark.slow
def test_a_source_that_changes_during_a_build_makes_it_stale(tmp_path):
    """mypyc reads it at the beginning, and the compiler then works for minutes."""
    editing = tmp_path / "cc"
    editing.write_text(f"#!/bin/sh\necho '{SOURCE.replace('1', '2')}' > ratelimitd/tiny.py\nexec cc \"$@\"\n")
    editing.chmod(0o755)
    built(tmp_path, SOURCE, CC=str(editing))
    assert re.fullmatch(r"interpreted: stale build, tiny\.py changed; .*/tiny\.py; 2\n", run(tmp_path, REPORT))


CANNOT = {
    "no mypy": ({"before": "sys.modules['mypy'] = None"}, r"mypy==\S+ is not installed"),
    "another mypy": (
        {"before": "import types; sys.modules['mypy.version'] = types.SimpleNamespace(__version__='1.0')"},
        r"mypy==\S+ is needed, and mypy 1\.0 is installed",
    ),
    "no stubs": ({"mypy": "no_site_packages = true", "source": f"import yaml\n{SOURCE}"}, "mypyc found errors"),
    "no compiler": ({"CC": "/nowhere/cc"}, "the compiler failed"),
    "not wanted": ({PURE: "1"}, PURE),
}


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("case", CANNOT)
def test_an_installation_that_cannot_compile_succeeds_and_says_so(case, tmp_path):
    """Without mypy, with another one, without stubs or a compiler, or where it is not wanted: the sources are used."""
    options, said = CANNOT[case]
    assert re.search(f"ratelimitd runs interpreted: {said}", built(tmp_path, **{"source": SOURCE, **options}))
    assert re.fullmatch(r"interpreted: not built; .*/tiny\.py; 1\n", run(tmp_path, REPORT))


@pytest.mark.process
@pytest.mark.slow
def test_metadata_waits_for_no_compilation(tmp_path):
    """pip reads it before a build, several times."""
    assert "interpreted" not in built(tmp_path, SOURCE, before="sys.modules['mypyc'] = None", argv=["-q", "egg_info"])
