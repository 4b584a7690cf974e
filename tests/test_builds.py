"""Builds of a package of one module by mypyc, and what is imported of each; each takes 20 s, so in `make test-long`."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from ratelimitd.compiled import PURE
from tests.test_compiled import PROJECT, ROOT, SUFFIX

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
    for name in ("__init__.py", "commit.py", "compiled.py"):
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
    assert "the compiler failed" in run(tmp_path, again, CC="false")
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
    "no compiler": ({"CC": "/nowhere/cc -pthread"}, "there is no C compiler, /nowhere/cc"),
    "a compiler that fails": ({"CC": "false"}, "the compiler failed"),
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
