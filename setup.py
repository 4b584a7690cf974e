"""The optional extension; all else is in pyproject.toml.

Without a compiler, Cython or libnghttp2 the package installs without it, and the service runs on grpcio.
"""

import shlex
import shutil
import subprocess

from setuptools import Extension, setup


def pkg_config(option: str, default: str) -> list[str]:
    """Ask pkg-config about libnghttp2; where it is not installed, the compiler's own paths have to do."""
    tool = shutil.which("pkg-config")
    asked = tool and subprocess.run([tool, option, "libnghttp2"], capture_output=True, text=True, check=False)  # noqa: S603
    return shlex.split(asked.stdout if asked and asked.returncode == 0 else default)


def extensions() -> list[Extension]:
    """Return the transport's extension, which may fail to build; none without Cython."""
    try:
        from Cython.Build import cythonize  # noqa: PLC0415 - it may be missing
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
        each.optional = True  # cythonize() makes new ones and forgets it
    return built


setup(ext_modules=extensions())
