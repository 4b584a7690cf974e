"""A pod for tests: a container of the image, in namespaces of its own, on the addresses and paths of a manifest.

The root folder has what the image has: the package with its virtual environment, /bin/ratelimit as the Dockerfile
writes it, and the variables of its ENV lines. Volumes are mounted at their paths, names resolve by /etc/hosts, and the
process has the user, the capabilities and the file system of the manifest. What is missing: seccomp, limits of memory
and CPU, and the base image, in whose place the programs and libraries of this machine are. What ``OWN`` says is added.

All of it runs below ``namespaces()``, so the ports are free and mounts end with the process.
"""

import fcntl
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from testkit.environment import STORE_BUDGET
from testkit.pasted import ROOT, isolation

ADDRESS: Final = "10.244.1.7"
"""Address of the pod; the kubelet probes it."""

DOCKERFILE: Final = ROOT / "Dockerfile"
BASE_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of the base image."""

PREFIX: Final = "/opt/ratelimitd"
OWN: Final = f"RATELIMITD_PURE=1 PYTHONPATH=/opt/checkout STORE_BUDGET={STORE_BUDGET}"
"""Variables that the start script adds to those of the manifest: the package of the checkout, and time for Redis."""

_SIOCSIFADDR: Final = 0x8916


def namespaces() -> list[str] | None:
    """Return the command that runs another where pods can be made; None if this machine does not permit that."""
    return isolation("--mount")


def add_address(address: str = ADDRESS) -> None:
    """Give the loopback interface a second address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        where = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(any_socket, _SIOCSIFADDR, where)


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets."""
    found = {"PATH": BASE_PATH}
    for line in re.findall(r"^ENV (.*)$", DOCKERFILE.read_text(), re.MULTILINE):
        for word in shlex.split(line):
            name, _, value = word.partition("=")
            found[name] = value.replace("$PATH", found["PATH"])
    return found


def entry_point() -> tuple[str, ...]:
    """Return ENTRYPOINT of the image; a Compose file's ``command`` and a manifest's ``args`` follow it."""
    (found,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE.read_text(), re.MULTILINE)
    return tuple(shlex.split(found.replace(",", " ")))


def volume(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a ConfigMap or Secret as the kubelet does: names are links through ``..data``; again to replace it."""
    folder.mkdir(exist_ok=True)
    version = f"..version_{len([*folder.glob('..version_*')])}"
    (folder / version).mkdir()
    for name, content in files.items():
        (folder / version / name).write_bytes(content.encode() if isinstance(content, str) else content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").replace(folder / "..data")
    return folder


def make_root(
    root: Path, mounts: Mapping[str, Path], names: Iterable[str], *, read_only: bool, trusted: Path | None = None
) -> None:
    """Make the root folder of a container.

    ``names`` are hosts, all at this machine's loopback. ``trusted`` is an authority in the place of the public ones.
    """
    root.mkdir()
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root))
    for name in ("usr", "lib", "lib64", "sbin", "dev", "proc", "sys"):
        _same(root, Path("/", name))
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        _bind(root, sys.base_prefix, Path(sys.base_prefix))
    _bind(root, "/opt/venv", Path(sys.prefix).resolve())
    _bind(root, "/opt/checkout/ratelimitd", ROOT / "ratelimitd")
    _programs(root)
    _etc(root / "etc", names)
    if trusted is not None:
        _trust(root / "etc/ssl/certs", trusted)
    for path, source in mounts.items():
        _bind(root, path, source)
    if read_only:
        _mount("-o", "remount,ro", str(root))


def command(root: Path, words: Iterable[str], user: int | None) -> list[str]:
    """Return the command that runs a container's words: as this user, and without any capability.

    Where this process is root only in its own namespace there is no other user to become.
    """
    as_user = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user is not None and all_users() else []
    confined = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    return [_found("chroot"), str(root), _found("setpriv"), *as_user, *confined, *words]


def all_users() -> bool:
    """Whether this namespace has every user, and not only the one that made it."""
    return int(Path("/proc/self/uid_map").read_text().split()[2]) > 1


def _found(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is missing"
    return str(Path(path).resolve())


def _programs(root: Path) -> None:
    own = root / PREFIX.lstrip("/") / "bin"
    own.mkdir(parents=True)
    scripts = {
        "ratelimit": (ROOT / "image/ratelimit").read_text(),
        "python": f'#!/bin/sh\n{OWN} exec /opt/venv/bin/python "$@"\n',
        "ratelimitd": f'#!/bin/sh\n{OWN} exec /opt/venv/bin/python -m ratelimitd "$@"\n',
    }
    for name, text in scripts.items():
        (own / name).write_text(text)
        (own / name).chmod(0o755)
    (root / "bin").mkdir()
    (root / "bin/sh").symlink_to(_found("sh"))
    (root / "bin/ratelimit").symlink_to(f"{PREFIX}/bin/ratelimit")


def _etc(etc: Path, names: Iterable[str]) -> None:
    etc.mkdir()
    for name in ("ld.so.cache", "passwd", "group"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc / name)
    (etc / "nsswitch.conf").write_text("hosts: files\n")
    (etc / "resolv.conf").touch()
    (etc / "hosts").write_text(
        "\n".join(("127.0.0.1 localhost", "::1 localhost", *(f"127.0.0.1 {x}" for x in names), ""))
    )


def _trust(folder: Path, authority: Path) -> None:
    """Add an authority to those of the system, which OpenSSL finds by a hash of its name."""
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(authority)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    folder.mkdir(parents=True)
    shutil.copy(authority, folder / f"{name}.0")


def _same(root: Path, path: Path) -> None:
    if path.is_symlink():
        (root / path.name).symlink_to(path.readlink())
    elif path.is_dir():
        _bind(root, str(path), path)


def _bind(root: Path, path: str, source: Path) -> None:
    place = root / path.lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    _mount("--rbind", str(source), str(place))


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
