"""The modules that mypyc compiles: built where they can be, imported only if they are of the sources as they are."""

import ast
import gc
import importlib
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


@pytest.mark.parametrize("name", LISTED)
def test_a_base_that_is_not_compiled_has_no_fields(name):
    """mypyc lays out the fields of a class as if such a base had none; asyncio.BufferedProtocol has none.

    It knows the layout of exceptions.
    """
    found = [each for each in vars(importlib.import_module(name)).values() if isinstance(each, type)]
    classes = [each for each in found if "__mypyc_attrs__" in vars(each)]
    bases = {base for each in classes for base in each.__mro__ if "__mypyc_attrs__" not in vars(base)}
    others = [base for base in bases if not issubclass(base, BaseException)]
    assert [base for base in others if base.__basicsize__ > object.__basicsize__] == []


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


def libraries(name):
    """Return the libraries whose modules a module of ours imports."""
    tree = ast.parse(Path(*name.split(".")).with_suffix(".py").read_text())
    names = [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {each for each in names if each.partition(".")[0] not in {*sys.stdlib_module_names, "ratelimitd"}}


@pytest.mark.parametrize("name", LISTED)
def test_a_build_needs_no_library_of_the_service(name, monkeypatch):
    """pip builds where only the build requirements are, so mypyc must not look for a library: one error ends it."""
    monkeypatch.chdir(ROOT)
    settled = {
        pattern.removesuffix(".*") for rule in PROJECT["tool"]["mypy"]["overrides"] for pattern in rule["module"]
    }
    stubs = {
        each
        for each, package in STUBS.items()
        if any(one.startswith(package) for one in PROJECT["build-system"]["requires"])
    }
    assert {each for each in libraries(name) if not each.startswith((*settled, *stubs))} == set()


STUBS = {"google.protobuf": "types-protobuf==", "yaml": "types-PyYAML=="}
"""Libraries whose types are in a package of their own."""
