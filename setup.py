"""Build of the optional extension; everything else is in pyproject.toml.

Without a compiler, Cython or libnghttp2 the package installs without it, and the service uses grpcio.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, setup


def pkg_config(option: str, default: str) -> list[str]:
    """Return pkg-config's flags for libnghttp2, or ``default``, which relies on the compiler's search paths."""
    tool = shutil.which("pkg-config")
    found = tool and subprocess.run([tool, option, "libnghttp2"], capture_output=True, text=True, check=False)  # noqa: S603
    return shlex.split(found.stdout if found and found.returncode == 0 else default)


def extensions() -> list[Extension]:
    """Return the transport's extension, whose build may fail, or an empty list without Cython."""
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
    for each in built:
        each.optional = True  # cythonize() returns new objects and drops this attribute
    return built


def description() -> str:
    """Return README for a package page, where no file of the repository exists: links into it become their text."""
    page = Path("README.md").read_text(encoding="utf-8")
    page = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n+", "", page, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", page)


setup(ext_modules=extensions(), long_description=description(), long_description_content_type="text/markdown")
