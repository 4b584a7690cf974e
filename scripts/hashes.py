"""Hash lines of the pinned requirements: `make hashes` writes those of every pin.

The index is the one that pip is configured with. Hashes are of the wheels for the supported Pythons and platforms, and
of the sdist where one of those has no wheel.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

PYTHONS: Final = (11, 12, 13, 14)
"""Minor versions of CPython 3 that pyproject.toml names."""

MACHINES: Final = ("x86_64", "aarch64")

PIN: Final = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[^\s;]+)")
WHEEL: Final = re.compile(r".+-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl")

Files = Sequence[dict[str, Any]]
"""What an index says of the files of one project, as in PEP 691."""


def main(paths: Sequence[str]) -> None:
    """Write the hashes into the named files, all requirements*.txt by default."""
    fetch = index()
    for path in [Path(each) for each in paths] or sorted(Path().glob("requirements*.txt")):
        text = hashed(path.read_text(encoding="utf-8"), fetch)
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {sum(1 for line in text.splitlines() if PIN.match(line))} packages", file=sys.stderr)


def index() -> Callable[[str], Files]:
    """Return a look-up of a project's files in the index that pip uses, with pip's certificates and proxies."""
    from pip._internal.commands import create_command  # noqa: PLC0415 -- pip has no other way to name its index

    command = create_command("download")
    options, _ = command.parse_args([])
    session = command._build_session(options)  # type: ignore[attr-defined]  # noqa: SLF001
    known: dict[str, Files] = {}

    def fetch(name: str) -> Files:
        if name not in known:
            page = f"{options.index_url.rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
            answer = session.get(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
            answer.raise_for_status()
            known[name] = answer.json()["files"]
        return known[name]

    return fetch


def hashed(text: str, fetch: Callable[[str], Files]) -> str:
    """Return a requirements file with the hashes of its pins; comments stay."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            continue  # a hash of before
        pin = PIN.fullmatch(line.removesuffix(" \\"))
        if pin is None:
            if not line.startswith("#"):
                raise SystemExit(f"{line!r}: write NAME==VERSION alone, or a comment")
            lines.append(line)
            continue
        found = chosen(fetch(pin["name"]), pin["version"])
        if not found:
            raise SystemExit(f"{pin[0]}: the index has no file for the supported Pythons; pin another version")
        lines.append(" \\\n".join([pin[0], *(f"    --hash=sha256:{each}" for each in found)]))
    return "\n".join(lines) + "\n"


def chosen(files: Files, version: str) -> list[str]:
    """Return the hashes of a version's files that a supported Python may install, in order."""
    own = [each for each in files if of_version(each["filename"], version)]
    wheels = [each for each in own if fits(each["filename"])]
    sources = [each for each in own if each["filename"].endswith((".tar.gz", ".zip"))]
    kept = wheels if complete(each["filename"] for each in wheels) else [*wheels, *sources]
    return sorted({each["hashes"]["sha256"] for each in kept})


def of_version(filename: str, version: str) -> bool:
    """Whether a file is of this version; file names end it by ``-`` or by what follows an sdist's."""
    return re.search(rf"-{re.escape(version.replace('-', '_'))}(-|\.tar\.gz$|\.zip$)", filename) is not None


def fits(filename: str) -> bool:
    """Whether a supported Python may install this wheel on a supported platform."""
    return any(runs(filename, minor, machine) for minor in PYTHONS for machine in MACHINES)


def runs(filename: str, minor: int, machine: str) -> bool:
    """Whether CPython 3.``minor`` may install this wheel on Linux on this machine, with glibc or musl."""
    tags = WHEEL.fullmatch(filename)
    if tags is None:
        return False
    interpreter = any(for_python(each, tags["abi"], minor) for each in tags["python"].split("."))
    platforms = tags["platform"].split(".")
    linux = any(re.fullmatch(rf"((many|musl)linux\w*|linux)_{machine}", each) for each in platforms)
    return interpreter and (linux or "any" in platforms)


def for_python(python: str, abi: str, minor: int) -> bool:
    """Whether CPython 3.``minor``, with its global lock, takes a wheel of these tags."""
    exact = {(f"cp3{minor}", f"cp3{minor}"), (f"cp3{minor}", "none"), ("py3", "none"), (f"py3{minor}", "none")}
    least = re.fullmatch(r"cp3(\d+)", python)
    return (python, abi) in exact or ("abi3" in abi.split(".") and least is not None and int(least[1]) <= minor)


def complete(filenames: Iterable[str]) -> bool:
    """Whether each supported Python has a wheel on each machine, with glibc."""
    wheels = [each for each in filenames if "musllinux" not in each]
    return all(any(runs(each, minor, machine) for each in wheels) for minor in PYTHONS for machine in MACHINES)


if __name__ == "__main__":
    main(sys.argv[1:])
