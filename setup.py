"""Build of the optional extension; everything else is in pyproject.toml.

Without a compiler, Cython or libnghttp2 the package installs without it, and the service uses grpcio.
"""

import shlex
import shutil
import subprocess

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


setup(ext_modules=extensions())
