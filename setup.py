"""Build of the two optional extensions; everything else is in pyproject.toml.

Without a compiler, Cython or libnghttp2 the package installs without the transport, and the service uses grpcio.
Without a compiler, the right mypy or the stubs that it reads, what mypyc compiles is imported from its sources.
"""

import ast
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

PACKAGE = Path("ratelimitd")
BUILDS = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}
"""Commands that build extensions; others read metadata, and must not wait for mypyc."""

GROUP = "ratelimitd"
"""Name of what all compiled modules share, in one library beside the package: ratelimitd__mypyc."""

COMPILED = runpy.run_path(str(PACKAGE / "compiled.py"))
COMMIT = runpy.run_path(str(PACKAGE / "commit.py"))
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))


def pkg_config(option: str, default: str) -> list[str]:
    """Return pkg-config's flags for libnghttp2, or ``default``, which relies on the compiler's search paths."""
    tool = shutil.which("pkg-config")
    found = tool and subprocess.run([tool, option, "libnghttp2"], capture_output=True, text=True, check=False)  # noqa: S603
    return shlex.split(found.stdout if found and found.returncode == 0 else default)


def transport() -> list[Extension]:
    """Return the transport's extension, or an empty list without Cython."""
    try:
        from Cython.Build import cythonize  # noqa: PLC0415 -- may be missing
    except ImportError:
        return []
    extension = Extension(
        "ratelimitd.transport._nghttp2",
        ["ratelimitd/transport/_nghttp2.pyx"],
        extra_compile_args=["-O3", *pkg_config("--cflags", "")],
        extra_link_args=pkg_config("--libs", "-lnghttp2"),
    )
    built: list[Extension] = cythonize([extension], build_dir="build", quiet=True)
    return built


def listed() -> list[str]:
    """Return the paths of the modules that mypyc compiles, below the package."""
    table = PROJECT["tool"]["ratelimitd"]["compiled"]
    return sorted(Path(room["room"], f"{module}.py").as_posix() for room in table for module in room["modules"])


def core(paths: list[str]) -> list[Extension]:
    """Return the extensions of the modules that mypyc compiles, or an empty list where it cannot, which is said."""
    if (why := unready()) or (built := mypyc(paths)) is None:
        print(f"ratelimitd runs interpreted: {why or 'mypyc found errors, see above'}", file=sys.stderr)
        return []
    return built


def unready() -> str:
    """Return why mypyc is not run, or an empty text."""
    if os.environ.get(COMPILED["PURE"], "") not in COMPILED["OFF"]:
        return COMPILED["PURE"]
    compiler, *_ = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if not shutil.which(compiler):  # else mypyc would write C for a minute, and then fail
        return f"there is no C compiler, {compiler}"
    wanted = next(each for each in PROJECT["build-system"]["requires"] if each.startswith("mypy=="))
    try:
        from mypy.version import __version__ as found  # noqa: PLC0415 -- may be missing
    except ImportError:
        return f"{wanted} is not installed"
    return "" if f"mypy=={found}" == wanted else f"{wanted} is needed, and mypy {found} is installed"


def mypyc(paths: list[str]) -> list[Extension] | None:
    """Return the extensions, or None after an error of a type, at which mypycify ends the process."""
    from mypyc.build import mypycify  # noqa: PLC0415 -- may be missing

    print("compiling with mypyc, a minute or two ...", file=sys.stderr)
    # Modules that are only read may import libraries that a build environment has not.
    arguments = ["--follow-imports=silent", *(str(PACKAGE / path) for path in paths)]
    try:
        level = os.environ.get("MYPYC_OPT_LEVEL", "2")  # as mypy's own build; 0 takes a quarter of the time
        return mypycify(arguments, opt_level=level, debug_level="0", group_name=GROUP)
    except SystemExit:
        return None


def sources(paths: list[str]) -> set[str]:
    """Return the paths of these modules and of all that they import from the package, also through others."""
    found: set[str] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path not in found and (PACKAGE / path).is_file():
            found.add(path)
            waiting += imported(path)
    return found


def imported(path: str) -> list[str]:
    """Return the paths that a module of the package may import; some do not exist."""
    names: list[str] = []
    package = ".".join((PACKAGE / path).parent.parts)
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += (base, *(f"{base}.{each.name}" for each in node.names))
    parts = (name.split(".")[1:] for name in names if name.partition(".")[0] == str(PACKAGE))
    return [path for each in parts for path in (f"{'/'.join(each)}.py", "/".join((*each, "__init__.py")))]


def current(paths: list[str]) -> bool:
    """Whether the extensions in the source tree are of these modules as they are now."""
    _, recorded = COMPILED["read"](PACKAGE)
    same = sorted(each.path for each in recorded if each.compiled) == paths
    return same and not COMPILED["interpreted"](PACKAGE, {})


class BuildExt(build_ext):
    """Builds what can be built, and records the modules that mypyc compiled."""

    record = ""
    """Record of the build, made before mypyc reads the sources: one that changes meanwhile makes it stale."""

    def run(self) -> None:
        """Remove the last build, whose record would be wrong, build, and record if all of it was built."""
        folder = PACKAGE if self.inplace else Path(self.build_lib) / PACKAGE
        compiled = [each for each in self.extensions if each.name != "ratelimitd.transport._nghttp2"]
        if compiled:
            # Also what is in build/lib, from where setuptools copies it in place if the compiler fails.
            for last in {Path(self.build_lib) / PACKAGE, folder}:
                remove_core(last)
        super().run()
        names = (self.get_ext_fullpath(each.name) for each in compiled)
        if compiled and all(Path(name).exists() for name in names):
            (folder / COMPILED["RECORD"]).write_text(self.record, encoding="utf-8")
        elif compiled:
            print("ratelimitd runs interpreted: the compiler failed, see above", file=sys.stderr)


class BuildPy(build_py):
    """Copies the package, and records the commit that it is of."""

    def run(self) -> None:
        """Copy, unless the package is installed in place, where the next edit would make the record wrong."""
        super().run()
        if not self.editable_mode:
            record_commit(Path(self.build_lib) / PACKAGE)


class SDist(sdist):
    """Packs the sources, and their commit: a build of an sdist has no repository."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the sources into the folder that is packed."""
        super().make_release_tree(base_dir, files)
        record_commit(Path(base_dir) / PACKAGE)


def record_commit(package: Path) -> None:
    """Write the record of the commit into a folder of the package."""
    record = package / COMMIT["RECORD"]
    record.unlink(missing_ok=True)  # may be a link to that of the sources
    if commit := COMMIT["to_record"](Path(), os.environ):
        record.write_text(f"{commit}\n", encoding="ascii")


def remove_core(package: Path) -> None:
    """Remove what mypyc compiled, and its record, from a folder of the package."""
    modules = (each for each in package.rglob("*.so") if not each.name.startswith("_nghttp2."))
    shared = package.parent.glob(f"{package.name}{COMPILED['SHARED']}.*.so")
    for each in (package / COMPILED["RECORD"], *modules, *shared):
        each.unlink(missing_ok=True)


def description() -> str:
    """Return README for a package page, where no file of the repository exists: links into it become their text."""
    page = Path("README.md").read_text(encoding="utf-8")
    page = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n+", "", page, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", page)


def extensions() -> list[Extension]:
    """Return all extensions, each of whose builds may fail."""
    paths = listed()
    wanted = BUILDS & {*sys.argv}
    in_place = {"--inplace", "editable_wheel", "develop"} & {*sys.argv}
    kept = not wanted or (in_place and "--force" not in sys.argv and current(paths))
    if not kept:
        BuildExt.record = COMPILED["record"](PACKAGE, paths, sources(paths))
    built = [*transport(), *([] if kept else core(paths))]
    for each in built:
        each.optional = True
    return built


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy, "sdist": SDist},
    long_description=description(),
    long_description_content_type="text/markdown",
)
