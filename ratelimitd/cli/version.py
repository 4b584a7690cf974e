"""The text of ``--version``: version and build, then what decides how it runs, a line each."""

import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import ratelimitd
from ratelimitd.commit import of_tree

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "envoy": ("envoy_data_plane",),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc", "opentelemetry.exporter.otlp.proto.http"),
    "plot": ("matplotlib",),
}
"""The optional dependencies of pyproject.toml, by what has to be found of each; none is imported."""


def version_text() -> str:
    """Return version, build, commit, transport, extras and Python."""
    extras = [name for name, modules in EXTRAS.items() if all(map(_found, modules))]
    return "\n".join(
        (
            f"ratelimitd, version {ratelimitd.__version__} ({ratelimitd.__build__})",
            f"commit:    {_commit()}",
            f"transport: {_transport()}",
            f"extras:    {', '.join(extras) or 'none'}",
            f"python:    {platform.python_version()}",
        )
    )


def _commit() -> str:
    if ratelimitd.__commit__:
        return ratelimitd.__commit__
    commit = of_tree(Path(ratelimitd.__file__).parents[1])
    return f"{commit}, a source tree" if commit else "unknown"


def _transport() -> str:
    """Name the library that serves gRPC by default, with its version; grpcio is not imported, which takes longer."""
    try:
        from ratelimitd.transport import _nghttp2  # noqa: PLC0415 -- may not be built
    except ImportError:
        from importlib.metadata import version  # noqa: PLC0415 -- only needed here

        return f"grpcio {version('grpcio')}"
    # An extension in a source tree may be older than what calls it.
    known = getattr(_nghttp2, "library_version", lambda: "of an older build")
    return f"nghttp2 {known()}"


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that the module is in
        return False
